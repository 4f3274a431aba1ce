/* getty: asks for a name on a terminal. login: asks for the password and starts the user's shell. */
#include "system.h"

#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static bool read_line(char *line, size_t size) {
    if (fgets(line, (int)size, stdin) == NULL)
        return false;
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

int getty_main(int argc, char **argv) {
    bool no_name = false;
    int letter;
    while ((letter = getopt(argc, argv, "n")) != -1)
        switch (letter) {
        case 'n': no_name = true; break;
        default: usage();
        }
    if (argc - optind != 1)
        usage();
    char *path = argv[optind][0] == '/' ? xstrdup(argv[optind]) : path_join("/dev", argv[optind]);
    int fd = open(path, O_RDWR);
    if (fd < 0) {
        complain_errno("%s", path);
        sleep(10); /* whoever starts this again should not do so at once */
        return 1;
    }
    if (!isatty(fd)) {
        complain("%s is no terminal", path);
        sleep(10);
        return 1;
    }
    setsid();
    ioctl(fd, TIOCSCTTY, 0);
    for (int i = 0; i < 3; i++)
        if (dup2(fd, i) < 0)
            die_errno("%s", path);
    if (fd > 2)
        close(fd);
    struct termios terminal;
    if (tcgetattr(0, &terminal) == 0) {
        terminal.c_iflag = ICRNL | IXON | IUTF8;
        terminal.c_oflag = OPOST | ONLCR;
        terminal.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | IEXTEN;
        terminal.c_cflag |= CREAD | CS8;
        tcsetattr(0, TCSANOW, &terminal);
    }
    char host[256] = "seedling", name[64] = "";
    gethostname(host, sizeof host - 1);
    FILE *motd = fopen("/etc/motd", "re");
    for (int byte; motd != NULL && (byte = getc(motd)) != EOF;)
        putchar(byte);
    if (motd != NULL)
        fclose(motd);
    if (no_name) {
        execl("/usr/bin/login", "login", "-f", "root", (char *)NULL);
        die_errno("/usr/bin/login");
    }
    while (name[0] == '\0' || name[0] == '-') {
        printf("\n%s login: ", host);
        fflush(stdout);
        if (!read_line(name, sizeof name))
            return 1;
    }
    execl("/usr/bin/login", "login", name, (char *)NULL);
    die_errno("/usr/bin/login");
}

/* The second field of a line of /etc/shadow; null if there is none. */
static char *shadow_password(const char *name) {
    FILE *file = fopen("/etc/shadow", "re");
    char *line = NULL, *found = NULL;
    size_t room = 0;
    while (file != NULL && found == NULL && getline(&line, &room, file) > 0) {
        char *at = line, *user = strsep(&at, ":"), *password = strsep(&at, ":");
        if (password != NULL && strcmp(user, name) == 0)
            found = xstrdup(password);
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

int login_main(int argc, char **argv) {
    bool trusted = false;
    int letter;
    while ((letter = getopt(argc, argv, "f")) != -1)
        switch (letter) {
        case 'f': trusted = true; break;
        default: usage();
        }
    char name[64] = "";
    if (optind < argc)
        snprintf(name, sizeof name, "%s", argv[optind]);
    else {
        printf("login: ");
        fflush(stdout);
        if (!read_line(name, sizeof name))
            return 1;
    }
    if (geteuid() != 0)
        die("only root can start a login");
    struct user user;
    bool known = user_by_name(name, &user);
    if (!trusted) {
        /* An empty password lets in; any other needs a system with crypt(), which this one is without. */
        char *password = known ? strcmp(user.password, "x") == 0 ? shadow_password(name) : user.password : NULL;
        if (password == NULL || password[0] != '\0') {
            sleep(2);
            die("login refused");
        }
    } else if (!known)
        die("no such user: %s", name);
    /* A container may have but one user and no say over groups. */
    if (setgroups(0, NULL) != 0 && user.uid != 0)
        die_errno("cannot become %s", name);
    if (setgid(user.gid) != 0 || setuid(user.uid) != 0)
        die_errno("cannot become %s", name);
    if (chdir(user.home) != 0 && chdir("/") != 0)
        die_errno("/");
    char *terminal = getenv("TERM");
    terminal = xstrdup(terminal != NULL ? terminal : "linux");
    clearenv();
    setenv("TERM", terminal, 1);
    setenv("HOME", user.home, 1);
    setenv("USER", user.name, 1);
    setenv("LOGNAME", user.name, 1);
    const char *shell = user.shell[0] != '\0' ? user.shell : "/bin/sh";
    setenv("SHELL", shell, 1);
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    char *copy = xstrdup(shell);
    execl(shell, xprintf("-%s", path_base(copy)), (char *)NULL);
    die_errno("%s", shell);
}
