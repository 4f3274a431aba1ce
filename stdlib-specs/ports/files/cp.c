/* cp: copies files and folders. */
#include <seed.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <getopt.h>

#include "files.h"

int each_pair(int count, char **paths, const struct pair_options *options,
              bool (*one)(const char *from, const char *to, void *data), void *data) {
    const char *last = options->folder;
    if (last == NULL) {
        if (count < 2)
            usage();
        last = paths[--count];
    } else if (count < 1)
        usage();
    struct stat info;
    bool into = options->folder != NULL ||
                (!options->plain && is_folder(last) &&
                 !(options->no_follow && lstat(last, &info) == 0 && S_ISLNK(info.st_mode)));
    if (options->plain && count > 1)
        die("-T takes one source and one target");
    if (!into && count > 1)
        die("%s is not a folder", last);
    if (options->folder != NULL && !is_folder(last))
        die("%s is not a folder", last);
    int status = 0;
    for (int i = 0; i < count; i++) {
        char *from = xstrdup(paths[i]);
        char *to = into ? path_join(last, path_base(from)) : xstrdup(last);
        if (!one(paths[i], to, data))
            status = 1;
        free(from);
        free(to);
    }
    return status;
}

static bool copy_one(const char *from, const char *to, void *data) { return copy_tree(from, to, data); }

int cp_main(int argc, char **argv) {
    static const struct option longs[] = {{"remove-destination", no_argument, NULL, 'U'},
                                          {"archive", no_argument, NULL, 'a'},
                                          {"recursive", no_argument, NULL, 'r'},
                                          {"force", no_argument, NULL, 'f'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"no-target-directory", no_argument, NULL, 'T'},
                                          {"target-directory", required_argument, NULL, 't'},
                                          {0}};
    struct copy_options options = {0};
    struct pair_options pairs = {0};
    int letter;
    while ((letter = getopt_long(argc, argv, "adfprRPLTvt:", longs, NULL)) != -1)
        switch (letter) {
        case 'a': options.recursive = options.links = options.keep = true; break;
        case 'd': options.links = true; break;
        case 'f': options.force = true; break;
        case 'p': options.keep = true; break;
        case 'r':
        case 'R': options.recursive = true; break;
        case 'P': options.links = true; break;
        case 'L': options.links = false; break;
        case 'T': pairs.plain = true; break;
        case 'v': options.verbose = true; break;
        case 't': pairs.folder = optarg; break;
        case 'U': options.replace = true; break;
        default: usage();
        }
    return each_pair(argc - optind, argv + optind, &pairs, copy_one, &options);
}
