/* Copying files and folders. */
#include "seed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

bool write_all(int fd, const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        ssize_t written = write(fd, at, size);
        if (written < 0) {
            if (errno == EINTR)
                continue;
            return false;
        }
        at += written;
        size -= (size_t)written;
    }
    return true;
}

bool copy_bytes(int from, int to) {
    static char buffer[128 * 1024];
    for (;;) {
        ssize_t got = read(from, buffer, sizeof buffer);
        if (got == 0)
            return true;
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return false;
        }
        if (!write_all(to, buffer, (size_t)got))
            return false;
    }
}

static bool keep_all(const char *to, const struct stat *info) {
    struct timespec times[2] = {info->st_atim, info->st_mtim};
    bool good = true;
    /* Only root may give files away; for others the copy is simply their own. */
    if (lchown(to, info->st_uid, info->st_gid) != 0 && geteuid() == 0) {
        complain_errno("cannot set the owner of %s", to);
        good = false;
    }
    if (!S_ISLNK(info->st_mode) && chmod(to, info->st_mode & 07777) != 0) {
        complain_errno("cannot set the mode of %s", to);
        good = false;
    }
    if (utimensat(AT_FDCWD, to, times, AT_SYMLINK_NOFOLLOW) != 0) {
        complain_errno("cannot set the time of %s", to);
        good = false;
    }
    return good;
}

static bool copy_link(const char *from, const char *to) {
    char target[4096];
    ssize_t length = readlink(from, target, sizeof target - 1);
    if (length < 0) {
        complain_errno("%s", from);
        return false;
    }
    target[length] = '\0';
    if (unlink(to) != 0 && errno != ENOENT) {
        complain_errno("%s", to);
        return false;
    }
    if (symlink(target, to) != 0) {
        complain_errno("%s", to);
        return false;
    }
    return true;
}

static bool copy_plain(const char *from, const char *to, const struct stat *info,
                       const struct copy_options *options) {
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) {
        complain_errno("%s", from);
        return false;
    }
    if (options->replace && unlink(to) != 0 && errno != ENOENT) {
        complain_errno("%s", to);
        close(in);
        return false;
    }
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, info->st_mode & 0777);
    if (out < 0 && options->force && unlink(to) == 0)
        out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, info->st_mode & 0777);
    if (out < 0) {
        complain_errno("%s", to);
        close(in);
        return false;
    }
    bool good = copy_bytes(in, out);
    if (!good)
        complain_errno("cannot copy %s to %s", from, to);
    close(in);
    if (close(out) != 0) {
        complain_errno("%s", to);
        good = false;
    }
    return good;
}

/* The folders being made, so that a folder copied into itself ends. */
static dev_t made_device;
static ino_t made_inode;
static bool made_any;

static bool copy_inner(const char *from, const char *to, const struct copy_options *options,
                       bool outermost) {
    struct stat info, target;
    int got = options->links || (options->recursive && !outermost) ? lstat(from, &info) : stat(from, &info);
    if (got != 0) {
        complain_errno("%s", from);
        return false;
    }
    bool exists = lstat(to, &target) == 0;
    if (exists && target.st_dev == info.st_dev && target.st_ino == info.st_ino) {
        complain("%s and %s are the same file", from, to);
        return false;
    }
    bool good = true;
    if (S_ISDIR(info.st_mode)) {
        if (!options->recursive) {
            complain("%s is a folder (use -r)", from);
            return false;
        }
        if (made_any && info.st_dev == made_device && info.st_ino == made_inode)
            return true;
        struct strings names = {0};
        if (!folder_read(from, &names)) {
            complain_errno("%s", from);
            return false;
        }
        /* Writable until everything is in it. */
        if (!is_folder(to) && mkdir(to, (info.st_mode & 0777) | 0700) != 0) {
            complain_errno("%s", to);
            strings_free(&names);
            return false;
        }
        if (outermost && stat(to, &target) == 0) {
            made_any = true;
            made_device = target.st_dev;
            made_inode = target.st_ino;
        }
        for (size_t i = 0; i < names.count; i++) {
            char *inner_from = path_join(from, names.at[i]);
            char *inner_to = path_join(to, names.at[i]);
            good = copy_inner(inner_from, inner_to, options, false) && good;
            free(inner_from);
            free(inner_to);
        }
        strings_free(&names);
        if (!exists && !options->keep) {
            mode_t mask = umask(0);
            umask(mask);
            if (chmod(to, info.st_mode & 0777 & ~mask) != 0) {
                complain_errno("%s", to);
                good = false;
            }
        }
    } else if (exists && S_ISDIR(target.st_mode)) {
        complain("cannot put a file in the place of the folder %s", to);
        return false;
    } else if (S_ISLNK(info.st_mode)) {
        good = copy_link(from, to);
    } else if (S_ISREG(info.st_mode) || !options->recursive) {
        good = copy_plain(from, to, &info, options);
    } else {
        if (exists)
            unlink(to);
        if (mknod(to, info.st_mode, info.st_rdev) != 0) {
            complain_errno("%s", to);
            good = false;
        }
    }
    if (good && options->keep)
        good = keep_all(to, &info);
    if (good && options->verbose)
        printf("%s -> %s\n", from, to);
    return good;
}

bool copy_tree(const char *from, const char *to, const struct copy_options *options) {
    made_any = false;
    return copy_inner(from, to, options, true);
}
