/* cat: writes files one after the other. sync: writes everything to the disks. */
#include <seed.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

static unsigned long line_number;

static bool cat_numbered(const char *name, int fd) {
    FILE *file = fdopen(dup(fd), "r");
    if (file == NULL)
        die_errno("%s", name);
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, file)) > 0) {
        printf("%6lu\t", ++line_number);
        fwrite(line, 1, (size_t)length, stdout);
    }
    free(line);
    bool good = !ferror(file);
    fclose(file);
    return good;
}

int cat_main(int argc, char **argv) {
    bool number = false;
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "nu")) != -1)
        switch (letter) {
        case 'n': number = true; break;
        case 'u': break; /* never buffered */
        default: usage();
        }
    static char *standard[] = {"-", NULL};
    char **names = optind < argc ? argv + optind : standard;
    for (; *names != NULL; names++) {
        bool input = strcmp(*names, "-") == 0;
        int fd = input ? 0 : open(*names, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || !(number ? cat_numbered(*names, fd) : copy_bytes(fd, 1))) {
            complain_errno("%s", *names);
            status = 1;
        }
        if (fd > 0)
            close(fd);
    }
    return status;
}

int sync_main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        usage();
    sync();
    return 0;
}
