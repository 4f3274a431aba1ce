/* head: the beginning of files. tail: their end. */
#include "text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static long long count = 10;
static bool bytes, titles, first = true;

static bool head_one(FILE *file, const char *name) {
    if (titles) {
        printf("%s==> %s <==\n", first ? "" : "\n", name);
        first = false;
    }
    int byte;
    for (long long left = count; left > 0 && (byte = getc(file)) != EOF;) {
        putchar(byte);
        if (bytes || byte == '\n')
            left--;
    }
    return true;
}

/* `head -5` is the old way of saying `head -n 5`. */
static void old_form(int *argc, char ***argv) {
    if (*argc > 1 && (*argv)[1][0] == '-' && isdigit((unsigned char)(*argv)[1][1])) {
        if (!number_parse((*argv)[1] + 1, &count))
            usage();
        (*argv)++;
        (*argc)--;
    }
}

int head_main(int argc, char **argv) {
    old_form(&argc, &argv);
    int letter;
    while ((letter = getopt(argc, argv, "n:c:")) != -1) {
        if ((letter != 'n' && letter != 'c') || !number_parse(optarg, &count) || count < 0)
            usage();
        bytes = letter == 'c';
    }
    titles = argc - optind > 1;
    return each_input(argv + optind, head_one);
}

static bool from_start;

static bool tail_one(FILE *file, const char *name) {
    (void)name;
    int byte;
    if (from_start) {
        long long skip = count > 0 ? count - 1 : 0;
        while (skip > 0 && (byte = getc(file)) != EOF)
            if (bytes || byte == '\n')
                skip--;
        while ((byte = getc(file)) != EOF)
            putchar(byte);
        return true;
    }
    if (count == 0)
        return true;
    if (bytes) {
        size_t room = (size_t)count, used = 0, at = 0;
        char *ring = xcalloc(room, 1);
        while ((byte = getc(file)) != EOF) {
            ring[at] = (char)byte;
            at = (at + 1) % room;
            if (used < room)
                used++;
        }
        for (size_t i = 0; i < used; i++)
            putchar((unsigned char)ring[(at + room - used + i) % room]);
        free(ring);
        return true;
    }
    struct line {
        char *text;
        size_t room;
        ssize_t length;
    };
    size_t room = 0, used = 0, at = 0;
    struct line *ring = NULL, line = {0};
    while ((line.length = getline(&line.text, &line.room, file)) > 0) {
        if (used < (size_t)count) {
            if (used == room) {
                room = room != 0 ? 2 * room : 16;
                ring = xrealloc(ring, room * sizeof *ring);
            }
            ring[used++] = line;
            line = (struct line){0};
        } else {
            struct line old = ring[at];
            ring[at] = line;
            line = old;
            at = (at + 1) % used;
        }
    }
    free(line.text);
    for (size_t i = 0; i < used; i++) {
        struct line *one = &ring[(at + i) % used];
        fwrite(one->text, 1, (size_t)one->length, stdout);
        free(one->text);
    }
    free(ring);
    return true;
}

int tail_main(int argc, char **argv) {
    bool follow = false;
    old_form(&argc, &argv);
    int letter;
    while ((letter = getopt(argc, argv, "fn:c:")) != -1)
        switch (letter) {
        case 'f': follow = true; break;
        case 'n':
        case 'c':
            bytes = letter == 'c';
            from_start = optarg[0] == '+';
            if (!number_parse(optarg, &count))
                usage();
            count = llabs(count);
            break;
        default: usage();
        }
    int status = 0;
    if (argc - optind > 1)
        die("one file at a time");
    if (!follow)
        return each_input(argv + optind, tail_one);
    const char *name = optind < argc ? argv[optind] : "-";
    FILE *file = input_open(name);
    if (file == NULL)
        return 1;
    tail_one(file, name);
    for (;;) {
        fflush(stdout);
        sleep(1);
        clearerr(file);
        int byte;
        while ((byte = getc(file)) != EOF)
            putchar(byte);
    }
    return status;
}
