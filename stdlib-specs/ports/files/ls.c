/* ls: lists folders. */
#include <seed.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

struct entry {
    char *name; /* as shown */
    char *path;
    struct stat info;
};

static struct {
    bool all, almost, one, folder, classify, human, inode, lng, numeric, recursive, reverse, size, time;
} opt;
static int status;

static int compare(const void *left, const void *right) {
    const struct entry *a = left, *b = right;
    int order = 0;
    if (opt.size)
        order = (b->info.st_size > a->info.st_size) - (b->info.st_size < a->info.st_size);
    else if (opt.time) {
        order = (b->info.st_mtim.tv_sec > a->info.st_mtim.tv_sec) -
                (b->info.st_mtim.tv_sec < a->info.st_mtim.tv_sec);
        if (order == 0)
            order = (b->info.st_mtim.tv_nsec > a->info.st_mtim.tv_nsec) -
                    (b->info.st_mtim.tv_nsec < a->info.st_mtim.tv_nsec);
    }
    if (order == 0)
        order = strcmp(a->name, b->name);
    return opt.reverse ? -order : order;
}

static char *shown(const struct entry *entry) {
    const char *mark = "";
    if (opt.classify) {
        if (S_ISDIR(entry->info.st_mode)) mark = "/";
        else if (S_ISLNK(entry->info.st_mode)) mark = "@";
        else if (S_ISFIFO(entry->info.st_mode)) mark = "|";
        else if (S_ISSOCK(entry->info.st_mode)) mark = "=";
        else if (entry->info.st_mode & 0111) mark = "*";
    }
    char *name = opt.inode ? xprintf("%llu %s%s", (unsigned long long)entry->info.st_ino, entry->name, mark)
                           : xprintf("%s%s", entry->name, mark);
    /* Control characters in names must not reach a terminal. */
    if (isatty(1))
        for (char *at = name; *at != '\0'; at++)
            if ((unsigned char)*at < ' ' || *at == 127)
                *at = '?';
    return name;
}

static void print_long(const struct entry *entries, size_t count) {
    char **owners = xcalloc(count, sizeof *owners), **groups = xcalloc(count, sizeof *groups);
    char **sizes = xcalloc(count, sizeof *sizes);
    size_t wide_owner = 0, wide_group = 0, wide_size = 0, wide_links = 0;
    for (size_t i = 0; i < count; i++) {
        const struct stat *info = &entries[i].info;
        owners[i] = opt.numeric ? xprintf("%u", info->st_uid) : user_label(info->st_uid);
        groups[i] = opt.numeric ? xprintf("%u", info->st_gid) : group_label(info->st_gid);
        char human[16];
        if (S_ISCHR(info->st_mode) || S_ISBLK(info->st_mode))
            sizes[i] = xprintf("%u,%4u", major(info->st_rdev), minor(info->st_rdev));
        else if (opt.human) {
            number_human((unsigned long long)info->st_size, human);
            sizes[i] = xstrdup(human);
        } else
            sizes[i] = xprintf("%lld", (long long)info->st_size);
        size_t links = (size_t)snprintf(NULL, 0, "%lu", (unsigned long)info->st_nlink);
        if (strlen(owners[i]) > wide_owner) wide_owner = strlen(owners[i]);
        if (strlen(groups[i]) > wide_group) wide_group = strlen(groups[i]);
        if (strlen(sizes[i]) > wide_size) wide_size = strlen(sizes[i]);
        if (links > wide_links) wide_links = links;
    }
    time_t now = time(NULL);
    for (size_t i = 0; i < count; i++) {
        const struct stat *info = &entries[i].info;
        char mode[11], when[32] = "?";
        mode_text(info->st_mode, mode);
        struct tm *local = localtime(&info->st_mtime);
        bool recent = info->st_mtime <= now && now - info->st_mtime < 182 * 24 * 3600;
        if (local != NULL)
            strftime(when, sizeof when, recent ? "%b %e %H:%M" : "%b %e  %Y", local);
        char *name = shown(&entries[i]);
        printf("%s %*lu %-*s %-*s %*s %s %s", mode, (int)wide_links, (unsigned long)info->st_nlink,
               (int)wide_owner, owners[i], (int)wide_group, groups[i], (int)wide_size, sizes[i], when, name);
        if (S_ISLNK(info->st_mode)) {
            char target[4096];
            ssize_t length = readlink(entries[i].path, target, sizeof target - 1);
            if (length >= 0)
                printf(" -> %.*s", (int)length, target);
        }
        putchar('\n');
        free(name);
        free(owners[i]);
        free(groups[i]);
        free(sizes[i]);
    }
    free(owners);
    free(groups);
    free(sizes);
}

static void print_columns(const struct entry *entries, size_t count) {
    struct winsize window;
    size_t width = 80, longest = 1;
    if (ioctl(1, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        width = window.ws_col;
    char **names = xcalloc(count, sizeof *names);
    for (size_t i = 0; i < count; i++) {
        names[i] = shown(&entries[i]);
        if (strlen(names[i]) > longest)
            longest = strlen(names[i]);
    }
    size_t columns = isatty(1) && !opt.one ? width / (longest + 2) : 1;
    if (columns == 0)
        columns = 1;
    size_t rows = (count + columns - 1) / columns;
    for (size_t row = 0; row < rows; row++)
        for (size_t at = row; at < count; at += rows) {
            bool last = at + rows >= count;
            printf("%-*s%s", last ? 0 : (int)longest + 2, names[at], last ? "\n" : "");
        }
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

static void print_all(struct entry *entries, size_t count) {
    if (count > 1)
        qsort(entries, count, sizeof *entries, compare);
    if (opt.lng)
        print_long(entries, count);
    else
        print_columns(entries, count);
}

static void list_folder(const char *path, bool title) {
    struct strings names = {0};
    if (!folder_read(path, &names)) {
        complain_errno("%s", path);
        status = 1;
    }
    if (title)
        printf("%s:\n", path);
    if (opt.all) {
        strings_add(&names, xstrdup("."));
        strings_add(&names, xstrdup(".."));
    }
    struct entry *entries = xcalloc(names.count, sizeof *entries);
    size_t count = 0;
    for (size_t i = 0; i < names.count; i++) {
        if (names.at[i][0] == '.' && !opt.all && !opt.almost)
            continue;
        struct entry *entry = &entries[count];
        entry->name = names.at[i];
        entry->path = path_join(path, names.at[i]);
        if (lstat(entry->path, &entry->info) == 0)
            count++;
        else {
            complain_errno("%s", entry->path);
            status = 1;
            free(entry->path);
        }
    }
    if (opt.lng) {
        unsigned long long blocks = 0;
        for (size_t i = 0; i < count; i++)
            blocks += (unsigned long long)entries[i].info.st_blocks;
        printf("total %llu\n", blocks / 2);
    }
    print_all(entries, count);
    for (size_t i = 0; i < count; i++) {
        if (opt.recursive && S_ISDIR(entries[i].info.st_mode) && strcmp(entries[i].name, ".") != 0 &&
            strcmp(entries[i].name, "..") != 0) {
            putchar('\n');
            list_folder(entries[i].path, true);
        }
        free(entries[i].path);
    }
    free(entries);
    strings_free(&names);
}

int ls_main(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "aA1dFhilnRrStC")) != -1)
        switch (letter) {
        case 'a': opt.all = true; break;
        case 'A': opt.almost = true; break;
        case '1': opt.one = true; break;
        case 'C': opt.one = false; break;
        case 'd': opt.folder = true; break;
        case 'F': opt.classify = true; break;
        case 'h': opt.human = true; break;
        case 'i': opt.inode = true; break;
        case 'l': opt.lng = true; break;
        case 'n': opt.lng = opt.numeric = true; break;
        case 'R': opt.recursive = true; break;
        case 'r': opt.reverse = true; break;
        case 'S': opt.size = true; break;
        case 't': opt.time = true; break;
        default: usage();
        }
    static char *here[] = {".", NULL};
    char **paths = optind < argc ? argv + optind : here;
    int count = optind < argc ? argc - optind : 1;
    struct entry *files = xcalloc((size_t)count, sizeof *files);
    struct strings folders = {0};
    size_t plain = 0;
    for (int i = 0; i < count; i++) {
        struct entry entry = {.name = paths[i], .path = paths[i]};
        if (lstat(paths[i], &entry.info) != 0) {
            complain_errno("%s", paths[i]);
            status = 1;
        } else if (!opt.folder && (S_ISDIR(entry.info.st_mode) ||
                                   (S_ISLNK(entry.info.st_mode) && !opt.lng && is_folder(paths[i]))))
            strings_add(&folders, xstrdup(paths[i]));
        else
            files[plain++] = entry;
    }
    print_all(files, plain);
    strings_sort(&folders);
    for (size_t i = 0; i < folders.count; i++) {
        if (i > 0 || plain > 0)
            putchar('\n');
        list_folder(folders.at[i], count > 1 || opt.recursive);
    }
    free(files);
    strings_free(&folders);
    return status;
}
