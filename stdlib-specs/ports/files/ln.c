/* ln: links. readlink: where a symbolic link points. */
#include <seed.h>

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <getopt.h>

#include "files.h"

struct linking {
    bool symbolic, force, verbose;
};

static bool link_one(const char *target, const char *name, void *data) {
    struct linking *how = data;
    if (how->force && unlink(name) != 0 && errno != ENOENT) {
        complain_errno("%s", name);
        return false;
    }
    if ((how->symbolic ? symlink(target, name) : link(target, name)) != 0) {
        complain_errno("cannot link %s to %s", name, target);
        return false;
    }
    if (how->verbose)
        printf("%s -> %s\n", name, target);
    return true;
}

int ln_main(int argc, char **argv) {
    static const struct option longs[] = {{"symbolic", no_argument, NULL, 's'},
                                          {"force", no_argument, NULL, 'f'},
                                          {"no-dereference", no_argument, NULL, 'n'},
                                          {"no-target-directory", no_argument, NULL, 'T'},
                                          {"target-directory", required_argument, NULL, 't'},
                                          {0}};
    struct linking how = {0};
    struct pair_options pairs = {0};
    int letter;
    while ((letter = getopt_long(argc, argv, "fnsTvt:", longs, NULL)) != -1)
        switch (letter) {
        case 'f': how.force = true; break;
        case 'n': pairs.no_follow = true; break;
        case 's': how.symbolic = true; break;
        case 'T': pairs.plain = true; break;
        case 'v': how.verbose = true; break;
        case 't': pairs.folder = optarg; break;
        default: usage();
        }
    if (argc - optind == 1 && pairs.folder == NULL)
        pairs.folder = "."; /* `ln TARGET` makes a link of the same name here */
    return each_pair(argc - optind, argv + optind, &pairs, link_one, &how);
}

int readlink_main(int argc, char **argv) {
    bool full = false, no_line = false;
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "fn")) != -1)
        switch (letter) {
        case 'f': full = true; break;
        case 'n': no_line = true; break;
        default: usage();
        }
    if (optind == argc)
        usage();
    for (; optind < argc; optind++) {
        char text[4096];
        char *path = full ? realpath(argv[optind], NULL) : NULL;
        if (full && path == NULL && errno == ENOENT) {
            /* The last part need not exist. */
            char *copy = xstrdup(argv[optind]);
            char *base = path_base(copy);
            char *inner = xstrdup(base);
            if (base == copy)
                path = realpath(".", NULL);
            else {
                base[base - 1 == copy ? 0 : -1] = '\0';
                path = realpath(copy, NULL);
            }
            if (path != NULL) {
                char *joined = path_join(path, inner);
                free(path);
                path = joined;
            }
            free(inner);
            free(copy);
        }
        ssize_t length = full ? 0 : readlink(argv[optind], text, sizeof text - 1);
        if ((full && path == NULL) || length < 0) {
            status = 1;
            continue;
        }
        text[length] = '\0';
        printf("%s%s", full ? path : text, no_line ? "" : "\n");
        free(path);
    }
    return status;
}
