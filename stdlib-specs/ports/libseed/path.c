/* Paths and folders. */
#include "seed.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *path_base(char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        path[--length] = '\0';
    char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

char *path_join(const char *folder, const char *name) {
    size_t length = strlen(folder);
    bool slash = length > 0 && folder[length - 1] == '/';
    return xprintf("%s%s%s", folder, slash ? "" : "/", name);
}

bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool folder_read(const char *path, struct strings *names) {
    DIR *folder = opendir(path);
    if (folder == NULL)
        return false;
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            strings_add(names, xstrdup(entry->d_name));
        errno = 0;
    }
    int error = errno;
    closedir(folder);
    strings_sort(names);
    errno = error;
    return error == 0;
}

bool make_folders(const char *path, mode_t mode) {
    char *copy = xstrdup(path);
    bool good = true;
    for (char *slash = copy; good && *slash != '\0';) {
        slash += strspn(slash, "/");
        slash += strcspn(slash, "/");
        char kept = *slash;
        *slash = '\0';
        bool last = kept == '\0' || slash[1 + strspn(slash + 1, "/")] == '\0';
        if (copy[0] != '\0' && mkdir(copy, last ? mode : 0777) != 0 &&
            !(errno == EEXIST && is_folder(copy)))
            good = false;
        *slash = kept;
    }
    int error = errno;
    free(copy);
    errno = error;
    return good;
}

bool remove_tree(const char *path, bool quiet) {
    struct stat info;
    if (lstat(path, &info) != 0) {
        if (quiet && errno == ENOENT)
            return true;
        complain_errno("%s", path);
        return false;
    }
    bool good = true;
    if (S_ISDIR(info.st_mode)) {
        struct strings names = {0};
        if (!folder_read(path, &names)) {
            complain_errno("%s", path);
            good = false;
        }
        for (size_t i = 0; i < names.count; i++) {
            char *inner = path_join(path, names.at[i]);
            good = remove_tree(inner, quiet) && good;
            free(inner);
        }
        strings_free(&names);
        if (good && rmdir(path) != 0) {
            complain_errno("%s", path);
            good = false;
        }
    } else if (unlink(path) != 0) {
        complain_errno("%s", path);
        good = false;
    }
    return good;
}
