/* Reading files line by line. */
#include "text.h"

#include <errno.h>
#include <string.h>

FILE *input_open(const char *name) {
    if (strcmp(name, "-") == 0)
        return stdin;
    FILE *file = fopen(name, "re");
    if (file == NULL)
        complain_errno("%s", name);
    return file;
}

void input_close(FILE *file) {
    if (file != stdin)
        fclose(file);
}

ssize_t input_line(FILE *file, char **line, size_t *room) {
    ssize_t length = getline(line, room, file);
    if (length > 0 && (*line)[length - 1] == '\n')
        (*line)[--length] = '\0';
    return length;
}

int each_input(char **names, bool (*one)(FILE *file, const char *name)) {
    static char *standard[] = {"-", NULL};
    int status = 0;
    for (char **name = *names != NULL ? names : standard; *name != NULL; name++) {
        FILE *file = input_open(*name);
        if (file == NULL) {
            status = 1;
            continue;
        }
        errno = 0;
        if (!one(file, *name))
            status = 1;
        if (ferror(file)) {
            complain_errno("%s", *name);
            status = 1;
        }
        input_close(file);
    }
    return status;
}
