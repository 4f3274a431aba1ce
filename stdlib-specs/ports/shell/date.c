/* date: prints times. sleep: waits. */
#include "shell.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int date_main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const char *format = "%a %b %e %H:%M:%S %Z %Y";
    long long seconds;
    struct stat info;
    int letter;
    while ((letter = getopt(argc, argv, "uRI::d:r:")) != -1)
        switch (letter) {
        case 'u': setenv("TZ", "UTC0", 1); break;
        case 'R': format = "%a, %d %b %Y %H:%M:%S %z"; break;
        case 'I': format = optarg != NULL && optarg[0] == 's' ? "%Y-%m-%dT%H:%M:%S%z" : "%Y-%m-%d"; break;
        case 'd':
            if (optarg[0] != '@' || !number_parse(optarg + 1, &seconds))
                die("a time is written @SECONDS: %s", optarg);
            now = (struct timespec){.tv_sec = (time_t)seconds};
            break;
        case 'r':
            if (stat(optarg, &info) != 0)
                die_errno("%s", optarg);
            now = info.st_mtim;
            break;
        default: usage();
        }
    if (optind < argc) {
        if (argv[optind][0] != '+' || optind + 1 < argc)
            usage();
        format = argv[optind] + 1;
    }
    /* %N, the nanoseconds, is not one of strftime's. */
    char expanded[1024];
    size_t used = 0;
    for (const char *at = format; *at != '\0' && used + 16 < sizeof expanded; at++)
        if (at[0] == '%' && at[1] == 'N') {
            used += (size_t)snprintf(expanded + used, sizeof expanded - used, "%09ld", now.tv_nsec);
            at++;
        } else {
            expanded[used++] = *at;
            if (at[0] == '%' && at[1] != '\0')
                expanded[used++] = *++at;
        }
    expanded[used] = '\0';
    char text[4096];
    tzset();
    struct tm *local = localtime(&now.tv_sec);
    if (local == NULL)
        die("no such time");
    if (*expanded == '\0' || strftime(text, sizeof text, expanded, local) == 0)
        text[0] = '\0';
    puts(text);
    return 0;
}

int sleep_main(int argc, char **argv) {
    double total = 0, one;
    if (argc < 2)
        usage();
    for (int i = 1; i < argc; i++) {
        if (!duration_parse(argv[i], &one))
            die("not a time: %s", argv[i]);
        total += one;
    }
    if (total > 1e9)
        total = 1e9;
    struct timespec wait = {.tv_sec = (time_t)total, .tv_nsec = (long)((total - (double)(time_t)total) * 1e9)};
    while (nanosleep(&wait, &wait) != 0)
        if (errno != EINTR)
            die_errno("cannot wait");
    return 0;
}
