/* touch: sets times, and makes files that are not there. */
#include <seed.h>

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "files.h"

int touch_main(int argc, char **argv) {
    struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    bool access_only = false, modified_only = false, no_create = false, links = false;
    int letter, status = 0;
    struct stat info;
    long long seconds;
    while ((letter = getopt(argc, argv, "achmd:r:")) != -1)
        switch (letter) {
        case 'a': access_only = true; break;
        case 'm': modified_only = true; break;
        case 'c': no_create = true; break;
        case 'h': links = no_create = true; break;
        case 'd':
            if (optarg[0] != '@' || !number_parse(optarg + 1, &seconds))
                die("a time is written @SECONDS: %s", optarg);
            times[0] = times[1] = (struct timespec){.tv_sec = (time_t)seconds};
            break;
        case 'r':
            if (stat(optarg, &info) != 0)
                die_errno("%s", optarg);
            times[0] = info.st_atim;
            times[1] = info.st_mtim;
            break;
        default: usage();
        }
    if (optind == argc)
        usage();
    if (access_only && !modified_only)
        times[1].tv_nsec = UTIME_OMIT;
    if (modified_only && !access_only)
        times[0].tv_nsec = UTIME_OMIT;
    for (; optind < argc; optind++) {
        const char *path = argv[optind];
        int flags = links ? AT_SYMLINK_NOFOLLOW : 0;
        if (utimensat(AT_FDCWD, path, times, flags) == 0)
            continue;
        if (errno == ENOENT && no_create)
            continue;
        int fd = errno == ENOENT ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
        if (fd < 0 || futimens(fd, times) != 0) {
            complain_errno("%s", path);
            status = 1;
        }
        if (fd >= 0)
            close(fd);
    }
    return status;
}
