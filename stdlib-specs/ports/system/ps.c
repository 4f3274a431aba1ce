/* ps: lists processes. pidof: finds them by name. */
#include "system.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

bool process_read(int pid, struct process *process) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t got = fread(text, 1, sizeof text - 1, file);
    struct stat info;
    bool owned = fstat(fileno(file), &info) == 0;
    fclose(file);
    text[got] = '\0';
    /* The name stands in parentheses and may have more of them. */
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (open == NULL || close == NULL || !owned)
        return false;
    *close = '\0';
    *process = (struct process){.pid = pid, .uid = info.st_uid};
    snprintf(process->name, sizeof process->name, "%s", open + 1);
    unsigned long user, system;
    return sscanf(close + 2, "%c %d %*d %*d %d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld",
                  &process->state, &process->parent, &process->terminal, &user, &system, &process->pages) == 6 &&
           (process->ticks = user + system, true);
}

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

void processes(void (*each)(const struct process *process, void *data), void *data) {
    DIR *folder = opendir("/proc");
    if (folder == NULL)
        die_errno("/proc");
    int *pids = NULL;
    size_t count = 0, room = 0;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (count == room) {
            room = room != 0 ? 2 * room : 64;
            pids = xrealloc(pids, room * sizeof *pids);
        }
        pids[count++] = atoi(entry->d_name);
    }
    closedir(folder);
    if (count > 1)
        qsort(pids, count, sizeof *pids, compare);
    for (size_t i = 0; i < count; i++) {
        struct process process;
        if (process_read(pids[i], &process))
            each(&process, data);
    }
    free(pids);
}

static void print_one(const struct process *process, void *data) {
    const bool *everything = data;
    if (!*everything && process->uid != geteuid())
        return;
    char path[64], command[256], *user = user_label(process->uid);
    snprintf(path, sizeof path, "/proc/%d/cmdline", process->pid);
    FILE *file = fopen(path, "re");
    size_t got = file != NULL ? fread(command, 1, sizeof command - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    while (got > 0 && command[got - 1] == '\0')
        got--;
    for (size_t i = 0; i < got; i++)
        if ((unsigned char)command[i] < ' ')
            command[i] = ' ';
    command[got] = '\0';
    if (got == 0)
        snprintf(command, sizeof command, "[%s]", process->name);
    unsigned long long seconds = process->ticks / (unsigned long long)sysconf(_SC_CLK_TCK);
    printf("%6d %6d %-8s %c %7ld %3llu:%02llu %s\n", process->pid, process->parent, user, process->state,
           process->pages * (sysconf(_SC_PAGESIZE) / 1024), seconds / 60, seconds % 60, command);
    free(user);
}

int ps_main(int argc, char **argv) {
    bool everything = false;
    int letter;
    /* "ps aux" and its like are written without a dash. */
    if (argc > 1 && argv[1][0] != '-')
        everything = strpbrk(argv[1], "ax") != NULL;
    while ((letter = getopt(argc, argv, "aefAxlu")) != -1)
        switch (letter) {
        case 'a':
        case 'e':
        case 'A':
        case 'x': everything = true; break;
        case 'f':
        case 'l':
        case 'u': break; /* there is one form */
        default: usage();
        }
    printf("   PID   PPID USER     S  RSS/K   TIME COMMAND\n");
    processes(print_one, &everything);
    return 0;
}

struct wanted {
    const char *name;
    bool single, found;
};

static void match_one(const struct process *process, void *data) {
    struct wanted *wanted = data;
    if (process->pid == getpid() || (wanted->single && wanted->found))
        return;
    /* The kernel keeps 15 bytes of a name. */
    if (strncmp(process->name, wanted->name, 15) != 0)
        return;
    printf("%s%d", wanted->found ? " " : "", process->pid);
    wanted->found = true;
}

int pidof_main(int argc, char **argv) {
    bool single = false, found = false;
    int letter;
    while ((letter = getopt(argc, argv, "s")) != -1)
        switch (letter) {
        case 's': single = true; break;
        default: usage();
        }
    if (optind == argc)
        usage();
    for (; optind < argc; optind++) {
        struct wanted wanted = {.name = argv[optind], .single = single};
        processes(match_one, &wanted);
        if (wanted.found)
            putchar('\n');
        found = found || wanted.found;
    }
    return found ? 0 : 1;
}
