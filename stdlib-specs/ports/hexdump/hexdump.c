/* hexdump: shows the bytes of files in hexadecimal and as text. */
#include <seed.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long long offset;

static void print_row(const unsigned char *row, size_t count) {
    printf("%08llx ", offset);
    for (size_t i = 0; i < 16; i++) {
        if (i == 8)
            putchar(' ');
        if (i < count)
            printf(" %02x", row[i]);
        else
            printf("   ");
    }
    printf("  |");
    for (size_t i = 0; i < count; i++)
        putchar(row[i] >= ' ' && row[i] < 127 ? row[i] : '.');
    printf("|\n");
}

static int dump(int argc, char **argv) {
    long long left = -1;
    bool all = false;
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "Cvn:")) != -1)
        switch (letter) {
        case 'C': break; /* there is no other form */
        case 'v': all = true; break;
        case 'n':
            if (!number_parse(optarg, &left) || left < 0)
                usage();
            break;
        default: usage();
        }
    static char *standard[] = {"-", NULL};
    unsigned char row[16], before[16];
    size_t count = 0;
    bool repeated = false, some = false;
    for (char **name = optind < argc ? argv + optind : standard; *name != NULL; name++) {
        FILE *file = strcmp(*name, "-") == 0 ? stdin : fopen(*name, "re");
        if (file == NULL) {
            complain_errno("%s", *name);
            status = 1;
            continue;
        }
        int byte;
        while (left != 0 && (byte = getc(file)) != EOF) {
            row[count++] = (unsigned char)byte;
            if (left > 0)
                left--;
            if (count < 16)
                continue;
            /* Equal rows are shown as one star. */
            if (!all && some && memcmp(row, before, 16) == 0) {
                if (!repeated)
                    puts("*");
                repeated = true;
            } else {
                print_row(row, 16);
                repeated = false;
            }
            memcpy(before, row, 16);
            some = true;
            offset += 16;
            count = 0;
        }
        if (ferror(file)) {
            complain_errno("%s", *name);
            status = 1;
        }
        if (file != stdin)
            fclose(file);
    }
    if (count > 0)
        print_row(row, count);
    offset += count;
    if (offset > 0)
        printf("%08llx\n", offset);
    return status;
}

int main(int argc, char **argv) {
    static const struct applet applets[] = {{"hexdump", dump, "[-Cv] [-n bytes] [file...]"}, {0}};
    return seed_run(applets, argc, argv);
}
