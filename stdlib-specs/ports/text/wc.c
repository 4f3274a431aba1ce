/* wc: counts lines, words and bytes. nl: numbers lines. rev: turns lines around. */
#include "text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool lines, words, bytes, characters;
static unsigned long long sums[4];
static bool named;

static void print_counts(const unsigned long long counts[4], const char *name) {
    bool shown[4] = {lines, words, characters, bytes};
    bool some = false;
    int kinds = lines + words + characters + bytes;
    for (int i = 0; i < 4; i++)
        if (shown[i]) {
            printf(kinds == 1 && !named ? "%s%llu" : "%s%7llu", some ? " " : "", counts[i]);
            some = true;
        }
    printf(named ? " %s\n" : "\n", name);
}

static bool wc_one(FILE *file, const char *name) {
    unsigned long long counts[4] = {0};
    bool in_word = false;
    int byte;
    while ((byte = getc_unlocked(file)) != EOF) {
        counts[3]++;
        if ((byte & 0xc0) != 0x80)
            counts[2]++; /* the first byte of a UTF-8 character */
        if (byte == '\n')
            counts[0]++;
        bool space = isspace(byte);
        if (!space && !in_word)
            counts[1]++;
        in_word = !space;
    }
    for (int i = 0; i < 4; i++)
        sums[i] += counts[i];
    print_counts(counts, name);
    return true;
}

int wc_main(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "clmw")) != -1)
        switch (letter) {
        case 'c': bytes = true; break;
        case 'l': lines = true; break;
        case 'm': characters = true; break;
        case 'w': words = true; break;
        default: usage();
        }
    if (!bytes && !lines && !characters && !words)
        bytes = lines = words = true;
    named = optind < argc;
    int status = each_input(argv + optind, wc_one);
    if (argc - optind > 1)
        print_counts(sums, "total");
    return status;
}

static char kind = 't';
static unsigned long long number;

static bool nl_one(FILE *file, const char *name) {
    (void)name;
    char *line = NULL;
    size_t room = 0;
    while (input_line(file, &line, &room) >= 0)
        if (kind == 'a' || (kind == 't' && line[0] != '\0'))
            printf("%6llu\t%s\n", ++number, line);
        else
            printf("       %s\n", line);
    free(line);
    return true;
}

int nl_main(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "b:")) != -1) {
        if (letter != 'b' || strchr("atn", optarg[0]) == NULL || optarg[0] == '\0')
            usage();
        kind = optarg[0];
    }
    return each_input(argv + optind, nl_one);
}

static bool rev_one(FILE *file, const char *name) {
    (void)name;
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = input_line(file, &line, &room)) >= 0) {
        /* Character by character: the bytes of one UTF-8 character stay in order. */
        for (ssize_t end = length; end > 0;) {
            ssize_t start = end - 1;
            while (start > 0 && ((unsigned char)line[start] & 0xc0) == 0x80)
                start--;
            fwrite(line + start, 1, (size_t)(end - start), stdout);
            end = start;
        }
        putchar('\n');
    }
    free(line);
    return true;
}

int rev_main(int argc, char **argv) {
    if (getopt(argc, argv, "") != -1)
        usage();
    return each_input(argv + optind, rev_one);
}
