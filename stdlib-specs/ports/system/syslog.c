/* syslogd: writes messages that programs send to a file. logger: sends one. */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *socket_path = "/dev/log";
static const char *const levels[] = {"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"};
static volatile sig_atomic_t ending;

static void on_term(int number) {
    (void)number;
    ending = 1;
}

static struct sockaddr_un address(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(socket_path) >= sizeof to.sun_path)
        die("the path is too long: %s", socket_path);
    strcpy(to.sun_path, socket_path);
    return to;
}

int syslogd_main(int argc, char **argv) {
    const char *path = "/var/log/messages";
    long long most = 1024 * 1024;
    int letter;
    while ((letter = getopt(argc, argv, "s:o:m:")) != -1)
        switch (letter) {
        case 's': socket_path = optarg; break;
        case 'o': path = optarg; break;
        case 'm':
            if (!number_parse(optarg, &most) || most < 1024)
                usage();
            break;
        default: usage();
        }
    struct sockaddr_un here = address();
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    unlink(socket_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) != 0 || chmod(socket_path, 0666) != 0)
        die_errno("%s", socket_path);
    struct sigaction action = {.sa_handler = on_term};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    char text[8192];
    while (!ending) {
        ssize_t got = recv(fd, text, sizeof text - 1, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            die_errno("%s", socket_path);
        }
        text[got] = '\0';
        unsigned priority = 13; /* user.notice */
        char *message = text;
        if (*message == '<') {
            priority = (unsigned)strtoul(message + 1, &message, 10);
            if (*message == '>')
                message++;
        }
        /* Some write the time themselves: "Jan  1 00:00:00 ". */
        if (strlen(message) > 16 && message[3] == ' ' && message[6] == ' ' && message[9] == ':' && message[12] == ':')
            message += 16;
        for (char *at = message; *at != '\0'; at++)
            if ((unsigned char)*at < ' ')
                *at = ' ';
        struct stat info;
        if (stat(path, &info) == 0 && info.st_size > most) {
            char *old = xprintf("%s.0", path);
            rename(path, old);
            free(old);
        }
        FILE *file = fopen(path, "ae");
        if (file == NULL) {
            complain_errno("%s", path);
            continue;
        }
        time_t now = time(NULL);
        char when[32] = "";
        struct tm *local = localtime(&now);
        if (local != NULL)
            strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", local);
        fprintf(file, "%s %s %s\n", when, levels[priority & 7], message);
        if (fclose(file) != 0)
            complain_errno("%s", path);
    }
    unlink(socket_path);
    return 0;
}

int logger_main(int argc, char **argv) {
    const char *tag = "user";
    unsigned level = 5;
    int letter;
    while ((letter = getopt(argc, argv, "s:t:p:")) != -1)
        switch (letter) {
        case 's': socket_path = optarg; break;
        case 't': tag = optarg; break;
        case 'p': {
            const char *dot = strrchr(optarg, '.');
            const char *name = dot != NULL ? dot + 1 : optarg;
            for (level = 0; level < 8 && strcmp(levels[level], name) != 0; level++)
                continue;
            if (level == 8)
                die("no such level: %s", name);
            break;
        }
        default: usage();
        }
    struct sockaddr_un to = address();
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char *line = NULL;
    size_t room = 0;
    if (optind < argc) {
        char text[4096] = "";
        for (; optind < argc; optind++) {
            size_t used = strlen(text);
            snprintf(text + used, sizeof text - used, "%s%s", used > 0 ? " " : "", argv[optind]);
        }
        line = xstrdup(text);
    }
    bool given = line != NULL;
    while (given || getline(&line, &room, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *message = xprintf("<%u>%s: %s", 8 + level, tag, line);
        if (sendto(fd, message, strlen(message), 0, (struct sockaddr *)&to, sizeof to) < 0)
            die_errno("%s", socket_path);
        free(message);
        if (given)
            break;
    }
    free(line);
    return 0;
}
