/* Small programs that tell, count and say yes or no. */
#include "shell.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

int uname_main(int argc, char **argv) {
    struct utsname name;
    bool shown[5] = {false};
    int letter;
    if (uname(&name) != 0)
        die_errno("uname");
    const char *const parts[5] = {name.sysname, name.nodename, name.release, name.version, name.machine};
    static const char letters[] = "snrvm";
    while ((letter = getopt(argc, argv, "asnrvmpio")) != -1) {
        const char *found = strchr(letters, letter);
        if (letter == 'a')
            memset(shown, true, sizeof shown);
        else if (letter == 'p' || letter == 'i')
            shown[4] = true;
        else if (letter == 'o')
            shown[0] = true;
        else if (letter == '?' || found == NULL)
            usage();
        else
            shown[found - letters] = true;
    }
    if (strcmp(seed_name, "arch") == 0)
        shown[4] = true;
    else if (argc == 1)
        shown[0] = true;
    bool some = false;
    for (int i = 0; i < 5; i++)
        if (shown[i]) {
            printf("%s%s", some ? " " : "", parts[i]);
            some = true;
        }
    putchar('\n');
    return 0;
}

int hostname_main(int argc, char **argv) {
    char name[256] = "";
    if (argc > 2)
        usage();
    if (argc == 2) {
        if (sethostname(argv[1], strlen(argv[1])) != 0)
            die_errno("cannot set the name");
        return 0;
    }
    if (gethostname(name, sizeof name - 1) != 0)
        die_errno("cannot read the name");
    puts(name);
    return 0;
}

int nproc_main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        usage();
    cpu_set_t set;
    printf("%d\n", sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1);
    return 0;
}

int true_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return 0;
}

int false_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    return 1;
}

int yes_main(int argc, char **argv) {
    do {
        if (argc < 2)
            fputs("y", stdout);
        for (int i = 1; i < argc; i++)
            printf("%s%s", i > 1 ? " " : "", argv[i]);
    } while (putchar('\n') != EOF && !ferror(stdout));
    return 1;
}

int seq_main(int argc, char **argv) {
    const char *between = "\n";
    bool wide = false;
    int at = 1;
    /* getopt would take negative numbers for options. */
    for (; at < argc && argv[at][0] == '-'; at++)
        if (strcmp(argv[at], "-w") == 0)
            wide = true;
        else if (strcmp(argv[at], "-s") == 0 && at + 1 < argc)
            between = argv[++at];
        else
            break;
    long long numbers[3] = {1, 1, 1};
    int count = argc - at;
    if (count < 1 || count > 3)
        usage();
    for (int i = 0; i < count; i++)
        if (!number_parse(argv[at + i], &numbers[i]))
            die("not a whole number: %s", argv[at + i]);
    long long first = count > 1 ? numbers[0] : 1, step = count == 3 ? numbers[1] : 1, last = numbers[count - 1];
    if (step == 0)
        die("the step is zero");
    int a = snprintf(NULL, 0, "%lld", first), b = snprintf(NULL, 0, "%lld", last);
    int width = wide ? (a > b ? a : b) : 0;
    bool some = false;
    for (long long number = first; step > 0 ? number <= last : number >= last;) {
        printf("%s%0*lld", some ? between : "", width, number);
        some = true;
        if (__builtin_add_overflow(number, step, &number))
            break;
    }
    if (some)
        putchar('\n');
    return 0;
}

int basename_main(int argc, char **argv) {
    if (argc < 2 || argc > 3)
        usage();
    char *path = xstrdup(argv[1]);
    char *base = path_base(path);
    if (argc == 3) {
        size_t length = strlen(base), suffix = strlen(argv[2]);
        if (length > suffix && strcmp(base + length - suffix, argv[2]) == 0)
            base[length - suffix] = '\0';
    }
    puts(base);
    free(path);
    return 0;
}

int dirname_main(int argc, char **argv) {
    if (argc < 2)
        usage();
    for (int i = 1; i < argc; i++) {
        char *path = xstrdup(argv[i]);
        char *base = path_base(path);
        if (base == path)
            puts(*path == '/' ? "/" : ".");
        else {
            while (base > path + 1 && base[-1] == '/')
                base--;
            *base = '\0';
            puts(path);
        }
        free(path);
    }
    return 0;
}

int pwd_main(int argc, char **argv) {
    bool logical = false;
    int letter;
    while ((letter = getopt(argc, argv, "LP")) != -1)
        switch (letter) {
        case 'L': logical = true; break;
        case 'P': logical = false; break;
        default: usage();
        }
    const char *given = getenv("PWD");
    struct stat here, there;
    if (logical && given != NULL && given[0] == '/' && stat(given, &there) == 0 && stat(".", &here) == 0 &&
        here.st_dev == there.st_dev && here.st_ino == there.st_ino) {
        puts(given);
        return 0;
    }
    char *path = getcwd(NULL, 0);
    if (path == NULL)
        die_errno("cannot tell");
    puts(path);
    free(path);
    return 0;
}

int tty_main(int argc, char **argv) {
    bool silent = argc == 2 && strcmp(argv[1], "-s") == 0;
    if (argc > 1 && !silent)
        usage();
    char name[256];
    bool terminal = isatty(0) && ttyname_r(0, name, sizeof name) == 0;
    if (!silent)
        puts(terminal ? name : "not a tty");
    return terminal ? 0 : 1;
}
