/* du: what files take up. df: what is free. */
#include <seed.h>

#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "files.h"

static bool all, human, summary;
static int status;

/* Files with several names count once. */
static struct seen {
    dev_t device;
    ino_t inode;
    struct seen *next;
} *seen[1024];

static bool first_time(const struct stat *info) {
    if (info->st_nlink < 2 || S_ISDIR(info->st_mode))
        return true;
    struct seen **slot = &seen[info->st_ino % 1024];
    for (struct seen *at = *slot; at != NULL; at = at->next)
        if (at->device == info->st_dev && at->inode == info->st_ino)
            return false;
    struct seen *new = xcalloc(1, sizeof *new);
    *new = (struct seen){info->st_dev, info->st_ino, *slot};
    *slot = new;
    return true;
}

static void print_size(unsigned long long bytes, const char *path) {
    char text[24];
    if (human)
        number_human(bytes, text);
    else
        snprintf(text, sizeof text, "%llu", (bytes + 1023) / 1024);
    printf("%s\t%s\n", text, path);
}

static unsigned long long measure(const char *path, int depth) {
    struct stat info;
    if (lstat(path, &info) != 0) {
        complain_errno("%s", path);
        status = 1;
        return 0;
    }
    unsigned long long total = first_time(&info) ? 512ull * (unsigned long long)info.st_blocks : 0;
    if (S_ISDIR(info.st_mode)) {
        struct strings names = {0};
        if (!folder_read(path, &names)) {
            complain_errno("%s", path);
            status = 1;
        }
        for (size_t i = 0; i < names.count; i++) {
            char *inner = path_join(path, names.at[i]);
            total += measure(inner, depth + 1);
            free(inner);
        }
        strings_free(&names);
    }
    if (depth == 0 || (!summary && (all || S_ISDIR(info.st_mode))))
        print_size(total, path);
    return total;
}

int du_main(int argc, char **argv) {
    bool sum = false;
    int letter;
    while ((letter = getopt(argc, argv, "achks")) != -1)
        switch (letter) {
        case 'a': all = true; break;
        case 'c': sum = true; break;
        case 'h': human = true; break;
        case 'k': human = false; break;
        case 's': summary = true; break;
        default: usage();
        }
    static char *here[] = {".", NULL};
    unsigned long long total = 0;
    for (char **path = optind < argc ? argv + optind : here; *path != NULL; path++)
        total += measure(*path, 0);
    if (sum)
        print_size(total, "total");
    return status;
}

static void amount(unsigned long long bytes) {
    char text[24];
    if (human)
        number_human(bytes, text);
    else
        snprintf(text, sizeof text, "%llu", bytes / 1024);
    printf(" %10s", text);
}

static void show(const char *source, const char *path, bool even_empty) {
    struct statvfs info;
    if (statvfs(path, &info) != 0) {
        complain_errno("%s", path);
        status = 1;
        return;
    }
    if (info.f_blocks == 0 && !even_empty)
        return;
    unsigned long long unit = info.f_frsize, used = info.f_blocks - info.f_bfree, usable = used + info.f_bavail;
    printf("%-20s", source);
    amount(info.f_blocks * unit);
    amount(used * unit);
    amount(info.f_bavail * unit);
    printf(" %3llu%% %s\n", usable != 0 ? (used * 100 + usable - 1) / usable : 0, path);
}

int df_main(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "hkP")) != -1)
        switch (letter) {
        case 'h': human = true; break;
        case 'k':
        case 'P': break;
        default: usage();
        }
    printf("%-20s %10s %10s %10s Use%% Mounted on\n", "Filesystem", human ? "Size" : "1024-blocks", "Used",
           "Available");
    if (optind < argc) {
        for (; optind < argc; optind++)
            show("-", argv[optind], true);
        return status;
    }
    FILE *mounts = setmntent("/proc/mounts", "re");
    if (mounts == NULL)
        die_errno("/proc/mounts");
    struct mntent *mount;
    while ((mount = getmntent(mounts)) != NULL)
        show(mount->mnt_fsname, mount->mnt_dir, false);
    endmntent(mounts);
    return status;
}
