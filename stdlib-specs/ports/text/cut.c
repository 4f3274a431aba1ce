/* cut: parts of lines. paste: lines side by side. */
#include "text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct range {
    long from, to;
} ranges[64];
static int range_count;
static char kind, separator = '\t';
static bool only_separated;

static void parse_ranges(char *text) {
    for (char *part; (part = strsep(&text, ", ")) != NULL;) {
        char *end;
        struct range range = {1, LONG_MAX};
        if (*part != '-')
            range.from = range.to = strtol(part, &part, 10);
        if (*part == '-') {
            range.to = strtol(part + 1, &end, 10);
            if (end == part + 1)
                range.to = LONG_MAX;
            part = end;
        }
        if (*part != '\0' || range.from < 1 || range.to < range.from || range_count == 64)
            die("not a list: use something like 1,3-5,7-");
        ranges[range_count++] = range;
    }
}

static bool wanted(long position) {
    for (int i = 0; i < range_count; i++)
        if (position >= ranges[i].from && position <= ranges[i].to)
            return true;
    return false;
}

static bool cut_one(FILE *file, const char *name) {
    (void)name;
    char *line = NULL;
    size_t room = 0;
    while (input_line(file, &line, &room) >= 0) {
        if (kind == 'f') {
            if (strchr(line, separator) == NULL) {
                if (!only_separated)
                    puts(line);
                continue;
            }
            bool some = false;
            long field = 1;
            for (char *at = line; at != NULL; field++) {
                char *next = strchr(at, separator);
                size_t length = next != NULL ? (size_t)(next - at) : strlen(at);
                if (wanted(field)) {
                    if (some)
                        putchar(separator);
                    fwrite(at, 1, length, stdout);
                    some = true;
                }
                at = next != NULL ? next + 1 : NULL;
            }
        } else {
            long position = 0;
            for (char *at = line; *at != '\0'; at++) {
                if (kind == 'b' || ((unsigned char)*at & 0xc0) != 0x80)
                    position++;
                if (wanted(position))
                    putchar(*at);
            }
        }
        putchar('\n');
    }
    free(line);
    return true;
}

int cut_main(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "b:c:f:d:s")) != -1)
        switch (letter) {
        case 'b':
        case 'c':
        case 'f':
            if (kind != 0)
                usage();
            kind = (char)letter;
            parse_ranges(optarg);
            break;
        case 'd':
            if (optarg[0] == '\0' || optarg[1] != '\0')
                die("a separator is one character: %s", optarg);
            separator = optarg[0];
            break;
        case 's': only_separated = true; break;
        default: usage();
        }
    if (kind == 0)
        usage();
    return each_input(argv + optind, cut_one);
}

int paste_main(int argc, char **argv) {
    const char *between = "\t";
    bool serial = false;
    int letter;
    while ((letter = getopt(argc, argv, "sd:")) != -1)
        switch (letter) {
        case 's': serial = true; break;
        case 'd': between = strcmp(optarg, "\\n") == 0 ? "\n" : optarg; break;
        default: usage();
        }
    static char *standard[] = {"-", NULL};
    char **names = optind < argc ? argv + optind : standard;
    int count = optind < argc ? argc - optind : 1;
    if (*between == '\0')
        usage();
    FILE **files = xcalloc((size_t)count, sizeof *files);
    for (int i = 0; i < count; i++)
        if ((files[i] = input_open(names[i])) == NULL)
            return 1;
    char *line = NULL;
    size_t room = 0, width = strlen(between);
    if (serial) {
        for (int i = 0; i < count; i++) {
            for (size_t n = 0; input_line(files[i], &line, &room) >= 0; n++) {
                if (n > 0)
                    putchar(between[(n - 1) % width]);
                fputs(line, stdout);
            }
            putchar('\n');
        }
    } else {
        for (;;) {
            struct strings row = {0};
            bool any = false;
            for (int i = 0; i < count; i++) {
                bool got = input_line(files[i], &line, &room) >= 0;
                any = any || got;
                strings_add(&row, xstrdup(got ? line : ""));
            }
            for (int i = 0; any && i < count; i++)
                printf("%s%c", row.at[i], i + 1 < count ? between[(size_t)i % width] : '\n');
            strings_free(&row);
            if (!any)
                break;
        }
    }
    free(line);
    free(files);
    return 0;
}
