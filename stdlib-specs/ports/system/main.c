/* system: init, logins, services, processes and mounts. */
#include "system.h"

static const struct applet applets[] = {
    {"init", init_main, "(runs as process 1)"},
    {"poweroff", shutdown_main, ""},
    {"reboot", shutdown_main, ""},
    {"halt", shutdown_main, ""},
    {"services", services_main, "[-r folder] folder"},
    {"sv", sv_main, "[-r folder] status [name...] | up name... | down name... | restart name..."},
    {"getty", getty_main, "[-n] terminal"},
    {"login", login_main, "[-f] [name]"},
    {"syslogd", syslogd_main, "[-s socket] [-o file] [-m bytes]"},
    {"logger", logger_main, "[-s socket] [-t tag] [-p level] [word...]"},
    {"ps", ps_main, "[-aefx]"},
    {"pidof", pidof_main, "[-s] name..."},
    {"kill", kill_main, "[-l] [-signal | -s signal] process..."},
    {"mount", mount_main, "[-a] [-nrw] [-t type] [-o options] [device folder]"},
    {"umount", umount_main, "[-afl] folder..."},
    {"uptime", uptime_main, ""},
    {"free", free_main, "[-hkm]"},
    {0},
};

int main(int argc, char **argv) { return seed_run(applets, argc, argv); }
