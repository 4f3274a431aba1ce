/* kill: sends signals. */
#include "system.h"

#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    int number;
} names[] = {{"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ILL", SIGILL},   {"TRAP", SIGTRAP},
             {"ABRT", SIGABRT}, {"BUS", SIGBUS},   {"FPE", SIGFPE},   {"KILL", SIGKILL}, {"USR1", SIGUSR1},
             {"SEGV", SIGSEGV}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},
             {"CHLD", SIGCHLD}, {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN},
             {"TTOU", SIGTTOU}, {"WINCH", SIGWINCH}};

int signal_number(const char *text) {
    long long number;
    if (number_parse(text, &number))
        return number >= 0 && number < 65 ? (int)number : -1;
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(text, names[i].name) == 0)
            return names[i].number;
    return -1;
}

int kill_main(int argc, char **argv) {
    int signal = SIGTERM, at = 1, status = 0;
    if (argc > 1 && strcmp(argv[1], "-l") == 0) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            printf("%2d %s\n", names[i].number, names[i].name);
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "-s") == 0) {
        signal = signal_number(argv[2]);
        at = 3;
    } else if (argc > 1 && argv[1][0] == '-' && strcmp(argv[1], "--") != 0) {
        signal = signal_number(argv[1] + 1);
        at = 2;
    }
    if (signal < 0)
        die("no such signal: %s", argv[at - 1]);
    if (at < argc && strcmp(argv[at], "--") == 0)
        at++;
    if (at == argc)
        usage();
    for (; at < argc; at++) {
        long long pid;
        if (!number_parse(argv[at], &pid))
            die("not the number of a process: %s", argv[at]);
        if (kill((pid_t)pid, signal) != 0) {
            complain_errno("%s", argv[at]);
            status = 1;
        }
    }
    return status;
}
