/* rm: removes. */
#include <seed.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

int rm_main(int argc, char **argv) {
    bool force = false, recursive = false, verbose = false;
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "frRv")) != -1)
        switch (letter) {
        case 'f': force = true; break;
        case 'r':
        case 'R': recursive = true; break;
        case 'v': verbose = true; break;
        default: usage();
        }
    if (optind == argc && !force)
        usage();
    for (; optind < argc; optind++) {
        char *path = argv[optind];
        char *copy = xstrdup(path);
        const char *base = path_base(copy);
        bool good = true;
        struct stat info;
        if (strcmp(base, "/") == 0 || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
            complain("refusing to remove %s", path);
            good = false;
        } else if (lstat(path, &info) != 0) {
            if (!(force && (errno == ENOENT || errno == ENOTDIR))) {
                complain_errno("%s", path);
                good = false;
            }
        } else if (S_ISDIR(info.st_mode) && !recursive) {
            complain("%s is a folder (use -r)", path);
            good = false;
        } else {
            good = remove_tree(path, force);
            if (good && verbose)
                printf("removed %s\n", path);
        }
        if (!good)
            status = 1;
        free(copy);
    }
    return status;
}
