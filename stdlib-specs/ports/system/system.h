#ifndef SYSTEM_H
#define SYSTEM_H

#include <seed.h>

int init_main(int, char **), shutdown_main(int, char **), services_main(int, char **), sv_main(int, char **),
    getty_main(int, char **), login_main(int, char **), syslogd_main(int, char **), logger_main(int, char **),
    ps_main(int, char **), pidof_main(int, char **), kill_main(int, char **), mount_main(int, char **),
    umount_main(int, char **), uptime_main(int, char **), free_main(int, char **);

/* Signals by name ("TERM", "SIGTERM", "15"); -1 if there is none. */
int signal_number(const char *text);

/* What /proc says of a process. */
struct process {
    int pid, parent;
    char state;
    char name[64];
    uid_t uid;
    unsigned long long ticks;
    long pages;
    int terminal;
};
bool process_read(int pid, struct process *process);
/* Calls `each` for every process in order of numbers. */
void processes(void (*each)(const struct process *process, void *data), void *data);

#endif
