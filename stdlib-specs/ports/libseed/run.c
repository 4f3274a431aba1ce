/* Starting an applet, and messages. */
#include "seed.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *seed_name = "seed";
static const struct applet *current;

static void message(const char *format, va_list arguments, int error) {
    fflush(stdout);
    fprintf(stderr, "%s: ", seed_name);
    vfprintf(stderr, format, arguments);
    if (error != 0)
        fprintf(stderr, ": %s", strerror(error));
    fputc('\n', stderr);
}

#define MESSAGE(error)                          \
    do {                                        \
        int saved_errno = (error);              \
        va_list arguments;                      \
        va_start(arguments, format);            \
        message(format, arguments, saved_errno); \
        va_end(arguments);                      \
    } while (0)

void complain_errno(const char *format, ...) { MESSAGE(errno); }
void complain(const char *format, ...) { MESSAGE(0); }

_Noreturn void die_errno(const char *format, ...) {
    MESSAGE(errno);
    exit(1);
}

_Noreturn void die(const char *format, ...) {
    MESSAGE(0);
    exit(1);
}

_Noreturn void usage(void) {
    fprintf(stderr, "usage: %s %s\n", seed_name, current != NULL ? current->usage : "");
    exit(2);
}

static const struct applet *find(const struct applet *table, const char *name) {
    for (; table->name != NULL; table++)
        if (strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

int seed_run(const struct applet *table, int argc, char **argv) {
    if (argc < 1)
        return 2;
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash != NULL ? slash + 1 : argv[0];
    /* A login shell and its kin are called with a dash in front. */
    if (name[0] == '-' && name[1] != '\0')
        name++;
    seed_name = name;
    current = find(table, name);
    if (current == NULL && argc > 1) {
        argv++;
        argc--;
        seed_name = argv[0];
        current = find(table, seed_name);
        if (current == NULL)
            fprintf(stderr, "%s: no such program: %s\n", name, argv[0]);
    }
    if (current == NULL) {
        fprintf(stderr, "%s is called by one of the names", name);
        for (; table->name != NULL; table++)
            fprintf(stderr, " %s", table->name);
        fputc('\n', stderr);
        return 2;
    }
    int status = current->main(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        /* Whoever reads may stop early. */
        if (errno != EPIPE)
            complain_errno("cannot write the output");
        return status != 0 ? status : 1;
    }
    return status;
}
