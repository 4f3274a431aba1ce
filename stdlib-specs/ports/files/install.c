/* install: copies programs and makes folders, with the modes and owners that they shall have. */
#include <seed.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

static struct {
    mode_t mode;
    uid_t uid;
    gid_t gid;
    bool parents, times, verbose;
} how = {.mode = 0755, .uid = (uid_t)-1, .gid = (gid_t)-1};

static bool finish(const char *path) {
    if ((how.uid != (uid_t)-1 || how.gid != (gid_t)-1) && chown(path, how.uid, how.gid) != 0) {
        complain_errno("%s", path);
        return false;
    }
    if (chmod(path, how.mode) != 0) {
        complain_errno("%s", path);
        return false;
    }
    if (how.verbose)
        printf("installed %s\n", path);
    return true;
}

static bool install_one(const char *from, const char *to, void *data) {
    (void)data;
    if (how.parents) {
        char *folder = xstrdup(to);
        char *slash = strrchr(folder, '/');
        if (slash != NULL && slash != folder) {
            *slash = '\0';
            if (!make_folders(folder, 0755)) {
                complain_errno("%s", folder);
                free(folder);
                return false;
            }
        }
        free(folder);
    }
    struct copy_options options = {.replace = true, .keep = how.times};
    return copy_tree(from, to, &options) && finish(to);
}

int install_main(int argc, char **argv) {
    bool folders = false;
    struct pair_options pairs = {0};
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "cdDpvTm:o:g:t:")) != -1)
        switch (letter) {
        case 'c': break; /* copying is all it does */
        case 'd': folders = true; break;
        case 'D': how.parents = true; break;
        case 'p': how.times = true; break;
        case 'v': how.verbose = true; break;
        case 'T': pairs.plain = true; break;
        case 't': pairs.folder = optarg; break;
        case 'm':
            if (!mode_parse(optarg, 0, false, &how.mode))
                die("not a mode: %s", optarg);
            break;
        case 'o':
            if (!user_parse(optarg, &how.uid))
                die("no such user: %s", optarg);
            break;
        case 'g':
            if (!group_parse(optarg, &how.gid))
                die("no such group: %s", optarg);
            break;
        default: usage();
        }
    if (!folders) {
        if (pairs.folder != NULL && how.parents && !make_folders(pairs.folder, 0755))
            die_errno("%s", pairs.folder);
        return each_pair(argc - optind, argv + optind, &pairs, install_one, NULL);
    }
    if (optind == argc)
        usage();
    for (; optind < argc; optind++) {
        if (!make_folders(argv[optind], 0755)) {
            complain_errno("%s", argv[optind]);
            status = 1;
        } else if (!finish(argv[optind]))
            status = 1;
    }
    return status;
}
