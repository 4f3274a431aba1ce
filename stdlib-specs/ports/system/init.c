/* init: the first process. Runs /etc/rc.boot once, keeps the services running, adopts orphans, and brings
   the system down: SIGTERM reboots, SIGUSR2 turns the power off, SIGUSR1 halts. */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t asked;

static void on_signal(int number) { asked = number; }

static pid_t start(char *const argv[]) {
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setsid();
        execv(argv[0], argv);
        complain_errno("%s", argv[0]);
        _exit(127);
    }
    if (pid < 0)
        complain_errno("cannot start %s", argv[0]);
    return pid;
}

/* Waits for one process and adopts all others that end meanwhile. */
static void wait_for(pid_t pid) {
    while (pid > 0) {
        pid_t ended = waitpid(-1, NULL, 0);
        if (ended == pid || (ended < 0 && errno != EINTR))
            return;
    }
}

static void go_down(int signal, pid_t services) {
    static char *const shutdown[] = {"/etc/rc.shutdown", NULL};
    puts("init: going down");
    fflush(stdout);
    if (services > 0) {
        kill(services, SIGTERM);
        wait_for(services);
    }
    if (access(shutdown[0], X_OK) == 0)
        wait_for(start(shutdown));
    kill(-1, SIGTERM);
    struct timespec second = {.tv_sec = 1};
    nanosleep(&second, NULL);
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    sync();
    mount("", "/", "", MS_REMOUNT | MS_RDONLY, "");
    int how = signal == SIGUSR1 ? RB_HALT_SYSTEM : signal == SIGUSR2 ? RB_POWER_OFF : RB_AUTOBOOT;
    reboot(how);
    /* In a container the kernel ends the namespace instead; without the right to do either, just end. */
    _exit(0);
}

int init_main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        complain("there are no arguments: they are left");
    if (getpid() != 1)
        die("this is for process 1; use reboot, halt or poweroff to end the system");
    static char *const boot[] = {"/etc/rc.boot", NULL};
    static char *const services[] = {"/usr/bin/services", "/etc/service", NULL};
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t wanted;
    sigemptyset(&wanted);
    static const int signals[] = {SIGTERM, SIGUSR1, SIGUSR2, SIGINT, SIGCHLD};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        sigaction(signals[i], &action, NULL);
        sigaddset(&wanted, signals[i]);
    }
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del becomes SIGINT */
    chdir("/");
    umask(022);
    if (access(boot[0], X_OK) == 0)
        wait_for(start(boot));
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    pid_t keeper = -1;
    time_t started = 0;
    for (;;) {
        if (keeper < 0) {
            /* Not more than once a second, whatever is wrong. */
            if (time(NULL) == started)
                sleep(1);
            started = time(NULL);
            keeper = start(services);
        }
        int signal = sigwaitinfo(&wanted, NULL);
        pid_t ended;
        while ((ended = waitpid(-1, NULL, WNOHANG)) > 0)
            if (ended == keeper)
                keeper = -1;
        if (signal == SIGTERM || signal == SIGINT || signal == SIGUSR1 || signal == SIGUSR2)
            go_down(signal, keeper);
    }
}

int shutdown_main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        usage();
    int signal = seed_name[0] == 'r' ? SIGTERM : seed_name[0] == 'p' ? SIGUSR2 : SIGUSR1;
    if (kill(1, signal) != 0)
        die_errno("cannot ask process 1");
    return 0;
}
