/* mount, umount. */
#include "system.h"

#include <errno.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned long set, clear;
} flags[] = {{"ro", MS_RDONLY, 0},
             {"rw", 0, MS_RDONLY},
             {"nosuid", MS_NOSUID, 0},
             {"suid", 0, MS_NOSUID},
             {"nodev", MS_NODEV, 0},
             {"dev", 0, MS_NODEV},
             {"noexec", MS_NOEXEC, 0},
             {"exec", 0, MS_NOEXEC},
             {"noatime", MS_NOATIME, 0},
             {"nodiratime", MS_NODIRATIME, 0},
             {"relatime", MS_RELATIME, 0},
             {"sync", MS_SYNCHRONOUS, 0},
             {"remount", MS_REMOUNT, 0},
             {"bind", MS_BIND, 0},
             {"rbind", MS_BIND | MS_REC, 0},
             {"move", MS_MOVE, 0},
             {"private", MS_PRIVATE, 0},
             {"rprivate", MS_PRIVATE | MS_REC, 0},
             {"shared", MS_SHARED, 0},
             {"slave", MS_SLAVE, 0},
             {"defaults", 0, 0},
             {"auto", 0, 0},
             {"noauto", 0, 0}};

/* Sorts options into the kernel's flags and the rest, which the file system gets. */
static unsigned long sort_options(const char *options, unsigned long start, char *rest, size_t size) {
    char *copy = xstrdup(options), *at = copy, *word;
    rest[0] = '\0';
    while ((word = strsep(&at, ",")) != NULL) {
        size_t i, count = sizeof flags / sizeof *flags;
        for (i = 0; i < count && strcmp(flags[i].name, word) != 0; i++)
            continue;
        if (i < count)
            start = (start | flags[i].set) & ~flags[i].clear;
        else if (*word != '\0') {
            size_t used = strlen(rest);
            if (used + strlen(word) + 2 > size)
                die("the options are too long");
            snprintf(rest + used, size - used, "%s%s", used > 0 ? "," : "", word);
        }
    }
    free(copy);
    return start;
}

static bool mount_one(const char *device, const char *path, const char *type, const char *options, unsigned long start) {
    char rest[4096];
    unsigned long bits = sort_options(options, start, rest, sizeof rest);
    bool bind = (bits & MS_BIND) != 0 && (bits & MS_REMOUNT) == 0;
    if (mount(device, path, type, bind ? bits & (MS_BIND | MS_REC) : bits, rest) != 0 ||
        /* The kernel takes flags of a bind mount only in a second step. */
        (bind && (bits & ~(MS_BIND | MS_REC)) != 0 && mount(NULL, path, NULL, bits | MS_REMOUNT, NULL) != 0)) {
        complain_errno("cannot mount %s on %s", device, path);
        return false;
    }
    return true;
}

static bool is_mounted(const char *path) {
    FILE *mounts = setmntent("/proc/mounts", "re");
    struct mntent *entry;
    bool found = false;
    while (mounts != NULL && !found && (entry = getmntent(mounts)) != NULL)
        found = strcmp(entry->mnt_dir, path) == 0;
    if (mounts != NULL)
        endmntent(mounts);
    return found;
}

static int mount_all(void) {
    FILE *table = setmntent("/etc/fstab", "re");
    int status = 0;
    if (table == NULL)
        die_errno("/etc/fstab");
    struct mntent *entry;
    while ((entry = getmntent(table)) != NULL)
        if (hasmntopt(entry, "noauto") == NULL && strcmp(entry->mnt_type, "swap") != 0 && !is_mounted(entry->mnt_dir) &&
            !mount_one(entry->mnt_fsname, entry->mnt_dir, entry->mnt_type, entry->mnt_opts, 0))
            status = 1;
    endmntent(table);
    return status;
}

int mount_main(int argc, char **argv) {
    const char *type = NULL;
    char options[4096] = "";
    bool all = false;
    unsigned long start = 0;
    int letter;
    while ((letter = getopt(argc, argv, "anrwt:o:")) != -1)
        switch (letter) {
        case 'a': all = true; break;
        case 'n': break; /* there is no /etc/mtab to write */
        case 'r': start |= MS_RDONLY; break;
        case 'w': start &= ~(unsigned long)MS_RDONLY; break;
        case 't': type = optarg; break;
        case 'o': {
            size_t used = strlen(options);
            snprintf(options + used, sizeof options - used, "%s%s", used > 0 ? "," : "", optarg);
            break;
        }
        default: usage();
        }
    int count = argc - optind;
    if (all)
        return mount_all();
    if (count == 0) {
        FILE *mounts = setmntent("/proc/mounts", "re");
        if (mounts == NULL)
            die_errno("/proc/mounts");
        struct mntent *entry;
        while ((entry = getmntent(mounts)) != NULL)
            printf("%s on %s type %s (%s)\n", entry->mnt_fsname, entry->mnt_dir, entry->mnt_type, entry->mnt_opts);
        endmntent(mounts);
        return 0;
    }
    if (count == 1) {
        /* The table knows the rest; a mount with options alone changes one that is there. */
        FILE *table = setmntent("/etc/fstab", "re");
        struct mntent *entry;
        while (table != NULL && (entry = getmntent(table)) != NULL)
            if (strcmp(entry->mnt_dir, argv[optind]) == 0 || strcmp(entry->mnt_fsname, argv[optind]) == 0)
                return mount_one(entry->mnt_fsname, entry->mnt_dir, entry->mnt_type,
                                 *options != '\0' ? options : entry->mnt_opts, start)
                           ? 0
                           : 1;
        return mount_one("none", argv[optind], type, options, start) ? 0 : 1;
    }
    if (count != 2)
        usage();
    if (type != NULL || strstr(options, "bind") != NULL || strstr(options, "move") != NULL ||
        strstr(options, "remount") != NULL)
        return mount_one(argv[optind], argv[optind + 1], type, options, start) ? 0 : 1;
    /* Without a type, the disk file systems that the kernel knows are tried. */
    FILE *known = fopen("/proc/filesystems", "re");
    char line[256], rest[4096];
    unsigned long bits = sort_options(options, start, rest, sizeof rest);
    while (known != NULL && fgets(line, sizeof line, known) != NULL) {
        char *name = strchr(line, '\t');
        if (name == NULL || line[0] != '\t')
            continue;
        name++;
        name[strcspn(name, "\n")] = '\0';
        if (mount(argv[optind], argv[optind + 1], name, bits, rest) == 0)
            return 0;
    }
    die("no known file system on %s (use -t)", argv[optind]);
}

int umount_main(int argc, char **argv) {
    int how = 0, letter, status = 0;
    bool all = false;
    while ((letter = getopt(argc, argv, "afln")) != -1)
        switch (letter) {
        case 'a': all = true; break;
        case 'f': how |= MNT_FORCE; break;
        case 'l': how |= MNT_DETACH; break;
        case 'n': break;
        default: usage();
        }
    struct strings paths = {0};
    if (all) {
        FILE *mounts = setmntent("/proc/mounts", "re");
        struct mntent *entry;
        while (mounts != NULL && (entry = getmntent(mounts)) != NULL)
            if (strcmp(entry->mnt_dir, "/") != 0 && strcmp(entry->mnt_dir, "/proc") != 0)
                strings_add(&paths, xstrdup(entry->mnt_dir));
        if (mounts != NULL)
            endmntent(mounts);
    } else if (optind == argc)
        usage();
    for (; optind < argc; optind++)
        strings_add(&paths, xstrdup(argv[optind]));
    /* The last one mounted goes first. */
    for (size_t i = paths.count; i > 0; i--)
        if (umount2(paths.at[i - 1], how) != 0) {
            complain_errno("%s", paths.at[i - 1]);
            status = 1;
        }
    strings_free(&paths);
    return status;
}
