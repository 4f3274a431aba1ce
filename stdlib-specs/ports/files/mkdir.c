/* mkdir, rmdir, mkfifo, mktemp. */
#include <seed.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <getopt.h>

#include "files.h"

int mkdir_main(int argc, char **argv) {
    static const struct option longs[] = {{"parents", no_argument, NULL, 'p'},
                                          {"mode", required_argument, NULL, 'm'},
                                          {0}};
    const char *mode_name = NULL;
    bool parents = false, verbose = false;
    mode_t mode = 0777;
    int letter, status = 0;
    while ((letter = getopt_long(argc, argv, "m:pv", longs, NULL)) != -1)
        switch (letter) {
        case 'm': mode_name = optarg; break;
        case 'p': parents = true; break;
        case 'v': verbose = true; break;
        default: usage();
        }
    if (optind == argc)
        usage();
    if (mode_name != NULL && !mode_parse(mode_name, 0777, true, &mode))
        die("not a mode: %s", mode_name);
    for (; optind < argc; optind++) {
        const char *path = argv[optind];
        struct stat info;
        bool there = parents && stat(path, &info) == 0 && S_ISDIR(info.st_mode);
        if (there)
            continue;
        if (!(parents ? make_folders(path, 0777) : mkdir(path, 0777) == 0) ||
            (mode_name != NULL && chmod(path, mode) != 0)) {
            complain_errno("%s", path);
            status = 1;
        } else if (verbose)
            printf("made %s\n", path);
    }
    return status;
}

int rmdir_main(int argc, char **argv) {
    bool parents = false;
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "p")) != -1)
        switch (letter) {
        case 'p': parents = true; break;
        default: usage();
        }
    if (optind == argc)
        usage();
    for (; optind < argc; optind++) {
        char *path = xstrdup(argv[optind]);
        bool more = true;
        while (more) {
            if (rmdir(path) != 0) {
                complain_errno("%s", path);
                status = 1;
                break;
            }
            path_base(path);
            char *slash = strrchr(path, '/');
            more = parents && slash != NULL && slash != path;
            if (more)
                *slash = '\0';
        }
        free(path);
    }
    return status;
}

int mkfifo_main(int argc, char **argv) {
    mode_t mode = 0666;
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "m:")) != -1)
        if (letter != 'm' || !mode_parse(optarg, 0666, false, &mode))
            usage();
    if (optind == argc)
        usage();
    for (; optind < argc; optind++)
        if (mkfifo(argv[optind], mode) != 0) {
            complain_errno("%s", argv[optind]);
            status = 1;
        }
    return status;
}

int mktemp_main(int argc, char **argv) {
    bool folder = false, quiet = false, unmade = false, in_folder = false;
    const char *where = NULL;
    int letter;
    while ((letter = getopt(argc, argv, "dqutp:")) != -1)
        switch (letter) {
        case 'd': folder = true; break;
        case 'q': quiet = true; break;
        case 'u': unmade = true; break;
        case 't': in_folder = true; break;
        case 'p': where = optarg; in_folder = true; break;
        default: usage();
        }
    const char *template = optind < argc ? argv[optind] : NULL;
    if (where == NULL)
        where = getenv("TMPDIR") != NULL && *getenv("TMPDIR") != '\0' ? getenv("TMPDIR") : "/tmp";
    if (template == NULL) {
        template = "tmp.XXXXXXXXXX";
        in_folder = true;
    }
    char *path = in_folder ? path_join(where, template) : xstrdup(template);
    size_t length = strlen(path), from = length;
    while (from > 0 && path[from - 1] == 'X')
        from--;
    if (length - from < 3)
        die("a template ends in at least three X: %s", template);
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    int random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (random < 0)
        die_errno("/dev/urandom");
    for (int attempt = 0; attempt < 100; attempt++) {
        for (size_t i = from; i < length; i++) {
            unsigned char byte;
            if (read(random, &byte, 1) != 1)
                die_errno("/dev/urandom");
            path[i] = letters[byte % (sizeof letters - 1)];
        }
        int fd = -1;
        struct stat info;
        bool made = unmade ? lstat(path, &info) != 0
                           : folder ? mkdir(path, 0700) == 0
                                    : (fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) >= 0;
        if (made) {
            if (fd >= 0)
                close(fd);
            puts(path);
            return 0;
        }
        if (!unmade && errno != EEXIST)
            break;
    }
    if (!quiet)
        complain_errno("cannot make %s", path);
    return 1;
}
