/* env, printenv, nohup. */
#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static _Noreturn void start(char **argv) {
    execvp(argv[0], argv);
    int error = errno;
    complain_errno("%s", argv[0]);
    exit(error == ENOENT ? 127 : 126);
}

int env_main(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "+iu:")) != -1)
        switch (letter) {
        case 'i': clearenv(); break;
        case 'u':
            if (unsetenv(optarg) != 0)
                die_errno("%s", optarg);
            break;
        default: usage();
        }
    if (optind < argc && strcmp(argv[optind], "-") == 0) {
        clearenv();
        optind++;
    }
    for (; optind < argc && strchr(argv[optind], '=') != NULL; optind++)
        if (putenv(argv[optind]) != 0)
            die_errno("%s", argv[optind]);
    if (optind < argc)
        start(argv + optind);
    for (char **at = environ; at != NULL && *at != NULL; at++)
        puts(*at);
    return 0;
}

int printenv_main(int argc, char **argv) {
    int status = 0;
    if (argc < 2)
        return env_main(1, argv);
    for (int i = 1; i < argc; i++) {
        const char *value = getenv(argv[i]);
        if (value != NULL)
            puts(value);
        else
            status = 1;
    }
    return status;
}

int nohup_main(int argc, char **argv) {
    if (argc < 2)
        usage();
    signal(SIGHUP, SIG_IGN);
    if (isatty(1)) {
        int fd = open("nohup.out", O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd < 0 || dup2(fd, 1) < 0)
            die_errno("nohup.out");
    }
    if (isatty(2) && dup2(1, 2) < 0)
        die_errno("standard error");
    start(argv + 1);
}
