/* uniq: one of each run of equal lines. comm: what two sorted files have in common. */
#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *skip_fields(const char *line, long long fields) {
    for (; fields > 0; fields--) {
        line += strspn(line, " \t");
        line += strcspn(line, " \t");
    }
    return line;
}

int uniq_main(int argc, char **argv) {
    bool counts = false, repeated = false, single = false;
    long long fields = 0;
    int letter;
    while ((letter = getopt(argc, argv, "cduf:")) != -1)
        switch (letter) {
        case 'c': counts = true; break;
        case 'd': repeated = true; break;
        case 'u': single = true; break;
        case 'f':
            if (!number_parse(optarg, &fields))
                usage();
            break;
        default: usage();
        }
    FILE *file = input_open(optind < argc ? argv[optind] : "-");
    if (file == NULL)
        return 1;
    if (argc - optind > 1 && freopen(argv[optind + 1], "we", stdout) == NULL)
        die_errno("%s", argv[optind + 1]);
    char *line = NULL, *last = NULL;
    size_t room = 0;
    unsigned long long run = 0;
    for (;;) {
        bool end = input_line(file, &line, &room) < 0;
        if (!end && last != NULL && strcmp(skip_fields(line, fields), skip_fields(last, fields)) == 0) {
            run++;
            continue;
        }
        if (last != NULL && (!repeated || run > 1) && (!single || run == 1)) {
            if (counts)
                printf("%7llu ", run);
            puts(last);
        }
        free(last);
        if (end)
            break;
        last = xstrdup(line);
        run = 1;
    }
    free(line);
    input_close(file);
    return 0;
}

int comm_main(int argc, char **argv) {
    bool hidden[4] = {false};
    int letter;
    while ((letter = getopt(argc, argv, "123")) != -1) {
        if (letter == '?')
            usage();
        hidden[letter - '0'] = true;
    }
    if (argc - optind != 2)
        usage();
    FILE *one = input_open(argv[optind]), *two = input_open(argv[optind + 1]);
    if (one == NULL || two == NULL)
        return 1;
    const char *indent[4] = {"", "", hidden[1] ? "" : "\t", ""};
    char both[3] = {0};
    if (!hidden[1])
        strcat(both, "\t");
    if (!hidden[2])
        strcat(both, "\t");
    indent[3] = both;
    char *a = NULL, *b = NULL;
    size_t room_a = 0, room_b = 0;
    bool more_a = input_line(one, &a, &room_a) >= 0, more_b = input_line(two, &b, &room_b) >= 0;
    while (more_a || more_b) {
        int order = !more_a ? 1 : !more_b ? -1 : strcmp(a, b);
        int column = order < 0 ? 1 : order > 0 ? 2 : 3;
        if (!hidden[column])
            printf("%s%s\n", indent[column], order <= 0 ? a : b);
        if (order <= 0)
            more_a = input_line(one, &a, &room_a) >= 0;
        if (order >= 0)
            more_b = input_line(two, &b, &room_b) >= 0;
    }
    free(a);
    free(b);
    input_close(one);
    input_close(two);
    return 0;
}
