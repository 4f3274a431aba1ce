/* sha256sum: prints and checks digests. */
#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool digest_file(FILE *file, char text[65]) {
    static char buffer[65536];
    struct sha256 hash;
    uint8_t digest[32];
    size_t got;
    sha256_start(&hash);
    while ((got = fread(buffer, 1, sizeof buffer, file)) > 0)
        sha256_add(&hash, buffer, got);
    sha256_end(&hash, digest);
    for (int i = 0; i < 32; i++)
        sprintf(text + 2 * i, "%02x", digest[i]);
    return !ferror(file);
}

static bool print_one(FILE *file, const char *name) {
    char text[65];
    if (!digest_file(file, text))
        return false;
    printf("%s  %s\n", text, name);
    return true;
}

static bool check_one(FILE *list, const char *name) {
    char *line = NULL;
    size_t room = 0;
    bool good = true;
    while (input_line(list, &line, &room) >= 0) {
        if (strlen(line) < 67 || line[64] != ' ') {
            complain("%s: not a line of digests: %s", name, line);
            good = false;
            continue;
        }
        line[64] = '\0';
        const char *path = line + 66;
        char text[65];
        FILE *file = fopen(path, "re");
        if (file == NULL || !digest_file(file, text)) {
            complain_errno("%s", path);
            good = false;
        } else if (strcmp(text, line) != 0) {
            printf("%s: FAILED\n", path);
            good = false;
        } else
            printf("%s: OK\n", path);
        if (file != NULL)
            fclose(file);
    }
    free(line);
    return good;
}

int sha256sum_main(int argc, char **argv) {
    bool check = false;
    int letter;
    while ((letter = getopt(argc, argv, "cb")) != -1)
        switch (letter) {
        case 'c': check = true; break;
        case 'b': break; /* there is no other way to read here */
        default: usage();
        }
    return each_input(argv + optind, check ? check_one : print_one);
}
