/* mv: renames, and copies where that is not possible. */
#include <seed.h>

#include <errno.h>
#include <unistd.h>
#include <getopt.h>

#include "files.h"

struct move {
    bool keep_existing, verbose;
};

static bool move_one(const char *from, const char *to, void *data) {
    struct move *move = data;
    struct stat info, target;
    if (lstat(from, &info) != 0) {
        complain_errno("%s", from);
        return false;
    }
    bool exists = lstat(to, &target) == 0;
    if (exists && move->keep_existing)
        return true;
    if (exists && info.st_dev == target.st_dev && info.st_ino == target.st_ino) {
        complain("%s and %s are the same file", from, to);
        return false;
    }
    if (rename(from, to) != 0) {
        if (errno != EXDEV) {
            complain_errno("cannot move %s to %s", from, to);
            return false;
        }
        /* Another file system: copy, then remove. */
        struct copy_options options = {.recursive = true, .links = true, .keep = true, .replace = true};
        if (exists && S_ISDIR(target.st_mode) && rmdir(to) != 0) {
            complain_errno("%s", to);
            return false;
        }
        if (!copy_tree(from, to, &options) || !remove_tree(from, false))
            return false;
    }
    if (move->verbose)
        printf("%s -> %s\n", from, to);
    return true;
}

int mv_main(int argc, char **argv) {
    static const struct option longs[] = {{"force", no_argument, NULL, 'f'},
                                          {"no-clobber", no_argument, NULL, 'n'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"no-target-directory", no_argument, NULL, 'T'},
                                          {"target-directory", required_argument, NULL, 't'},
                                          {0}};
    struct move move = {0};
    struct pair_options pairs = {0};
    int letter;
    while ((letter = getopt_long(argc, argv, "fnTvt:", longs, NULL)) != -1)
        switch (letter) {
        case 'f': move.keep_existing = false; break;
        case 'n': move.keep_existing = true; break;
        case 'T': pairs.plain = true; break;
        case 'v': move.verbose = true; break;
        case 't': pairs.folder = optarg; break;
        default: usage();
        }
    return each_pair(argc - optind, argv + optind, &pairs, move_one, &move);
}
