/* chmod, chown, chgrp. */
#include <seed.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

static int status;
static bool recursive;

static void each(const char *path, bool outermost, void (*change)(const char *, const struct stat *)) {
    struct stat info;
    if (lstat(path, &info) != 0) {
        complain_errno("%s", path);
        status = 1;
        return;
    }
    /* A link named on the command line stands for what it points to; one found on the way is left. */
    if (S_ISLNK(info.st_mode) && outermost && stat(path, &info) != 0) {
        complain_errno("%s", path);
        status = 1;
        return;
    }
    change(path, &info);
    if (!recursive || !S_ISDIR(info.st_mode))
        return;
    struct strings names = {0};
    if (!folder_read(path, &names)) {
        complain_errno("%s", path);
        status = 1;
    }
    for (size_t i = 0; i < names.count; i++) {
        char *inner = path_join(path, names.at[i]);
        each(inner, false, change);
        free(inner);
    }
    strings_free(&names);
}

static const char *new_mode;

static void change_mode(const char *path, const struct stat *info) {
    mode_t mode;
    if (S_ISLNK(info->st_mode))
        return;
    if (!mode_parse(new_mode, info->st_mode, S_ISDIR(info->st_mode), &mode))
        die("not a mode: %s", new_mode);
    if (chmod(path, mode) != 0) {
        complain_errno("%s", path);
        status = 1;
    }
}

int chmod_main(int argc, char **argv) {
    int at = 1;
    /* getopt would take the mode -w for an option. */
    for (; at < argc && (strcmp(argv[at], "-R") == 0 || strcmp(argv[at], "--") == 0); at++)
        if (strcmp(argv[at], "-R") == 0)
            recursive = true;
    if (argc - at < 2)
        usage();
    new_mode = argv[at++];
    mode_t unused;
    if (!mode_parse(new_mode, 0, false, &unused))
        die("not a mode: %s", new_mode);
    for (; at < argc; at++)
        each(argv[at], true, change_mode);
    return status;
}

static uid_t new_uid = (uid_t)-1;
static gid_t new_gid = (gid_t)-1;
static bool links;

static void change_owner(const char *path, const struct stat *info) {
    if (S_ISLNK(info->st_mode) && !links && !recursive)
        return;
    if ((S_ISLNK(info->st_mode) || links ? lchown(path, new_uid, new_gid) : chown(path, new_uid, new_gid)) != 0) {
        complain_errno("%s", path);
        status = 1;
    }
}

int chown_main(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "hR")) != -1)
        switch (letter) {
        case 'h': links = true; break;
        case 'R': recursive = true; break;
        default: usage();
        }
    if (argc - optind < 2)
        usage();
    char *user = argv[optind++], *group = NULL;
    if (strcmp(seed_name, "chgrp") == 0) {
        group = user;
        user = "";
    } else if ((group = strpbrk(user, ":.")) != NULL)
        *group++ = '\0';
    if (*user != '\0' && !user_parse(user, &new_uid))
        die("no such user: %s", user);
    if (group != NULL && *group != '\0' && !group_parse(group, &new_gid))
        die("no such group: %s", group);
    for (; optind < argc; optind++)
        each(argv[optind], !links, change_owner);
    return status;
}
