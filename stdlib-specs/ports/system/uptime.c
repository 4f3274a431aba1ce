/* uptime: how long the system has been running. free: how much memory there is. */
#include "system.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int uptime_main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        usage();
    double seconds = 0;
    char load[64] = "";
    FILE *file = fopen("/proc/uptime", "re");
    if (file == NULL || fscanf(file, "%lf", &seconds) != 1)
        die_errno("/proc/uptime");
    fclose(file);
    file = fopen("/proc/loadavg", "re");
    if (file != NULL) {
        char one[16], five[16], fifteen[16];
        if (fscanf(file, "%15s %15s %15s", one, five, fifteen) == 3)
            snprintf(load, sizeof load, ", load %s %s %s", one, five, fifteen);
        fclose(file);
    }
    unsigned long long minutes = (unsigned long long)seconds / 60;
    printf("up %llu days, %llu:%02llu%s\n", minutes / 1440, minutes / 60 % 24, minutes % 60, load);
    return 0;
}

int free_main(int argc, char **argv) {
    unsigned long long unit = 1, value;
    bool human = false;
    int letter;
    while ((letter = getopt(argc, argv, "hkm")) != -1)
        switch (letter) {
        case 'h': human = true; break;
        case 'k': unit = 1; break;
        case 'm': unit = 1024; break;
        default: usage();
        }
    static const char *const keys[] = {"MemTotal", "MemAvailable", "SwapTotal", "SwapFree"};
    unsigned long long kib[4] = {0};
    FILE *file = fopen("/proc/meminfo", "re");
    if (file == NULL)
        die_errno("/proc/meminfo");
    char name[64];
    while (fscanf(file, "%63[^:]: %llu%*[^\n]%*c", name, &value) == 2)
        for (int i = 0; i < 4; i++)
            if (strcmp(name, keys[i]) == 0)
                kib[i] = value;
    fclose(file);
    printf("%-6s %12s %12s %12s\n", "", "total", "used", "available");
    for (int i = 0; i < 4; i += 2) {
        unsigned long long row[3] = {kib[i], kib[i] - kib[i + 1], kib[i + 1]};
        printf("%-6s", i == 0 ? "Memory" : "Swap");
        for (int j = 0; j < 3; j++) {
            char text[24];
            if (human)
                number_human(row[j] * 1024, text);
            else
                snprintf(text, sizeof text, "%llu", row[j] / unit);
            printf(" %12s", text);
        }
        putchar('\n');
    }
    return 0;
}
