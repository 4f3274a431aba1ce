/* tee: copies its input to files and to the output. cmp: compares two files. */
#include "text.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

int tee_main(int argc, char **argv) {
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_TRUNC;
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "ai")) != -1)
        switch (letter) {
        case 'a': flags = (flags & ~O_TRUNC) | O_APPEND; break;
        case 'i': signal(SIGINT, SIG_IGN); break;
        default: usage();
        }
    int files[64], count = 0;
    for (; optind < argc; optind++) {
        if (count == 64)
            die("too many files");
        files[count] = open(argv[optind], flags, 0666);
        if (files[count] < 0) {
            complain_errno("%s", argv[optind]);
            status = 1;
        } else
            count++;
    }
    char buffer[65536];
    ssize_t got;
    while ((got = read(0, buffer, sizeof buffer)) > 0) {
        if (!write_all(1, buffer, (size_t)got))
            status = 1;
        for (int i = 0; i < count; i++)
            if (!write_all(files[i], buffer, (size_t)got)) {
                complain_errno("cannot write");
                status = 1;
            }
    }
    return status;
}

int cmp_main(int argc, char **argv) {
    bool silent = false, list = false;
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "ls")) != -1)
        switch (letter) {
        case 'l': list = true; break;
        case 's': silent = true; break;
        default: usage();
        }
    if (argc - optind != 2)
        usage();
    const char *name_a = argv[optind], *name_b = argv[optind + 1];
    FILE *a = input_open(name_a), *b = input_open(name_b);
    if (a == NULL || b == NULL)
        return 2;
    unsigned long long position = 0, line = 1;
    for (;;) {
        int x = getc_unlocked(a), y = getc_unlocked(b);
        position++;
        if (x == y) {
            if (x == EOF)
                break;
            if (x == '\n')
                line++;
            continue;
        }
        status = 1;
        if (x == EOF || y == EOF) {
            if (!silent)
                complain("%s ends first, after byte %llu", x == EOF ? name_a : name_b, position - 1);
            break;
        }
        if (list)
            printf("%llu %3o %3o\n", position, x, y);
        else {
            if (!silent)
                printf("%s %s differ: byte %llu, line %llu\n", name_a, name_b, position, line);
            break;
        }
    }
    input_close(a);
    input_close(b);
    return status;
}
