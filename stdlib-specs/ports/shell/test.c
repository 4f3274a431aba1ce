/* test: asks questions about files, texts and numbers. */
#include "shell.h"

#include <string.h>
#include <unistd.h>

static char **words;
static int left;

static _Noreturn void wrong(const char *what) {
    complain("%s", what);
    _exit(2);
}

static long long integer(const char *text) {
    long long number;
    while (*text == ' ')
        text++;
    if (!number_parse(text, &number)) {
        complain("not a number: %s", text);
        _exit(2);
    }
    return number;
}

static bool is_binary(const char *word) {
    static const char *const names[] = {"=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(word, names[i]) == 0)
            return true;
    return false;
}

static bool newer(const struct stat *a, const struct stat *b) {
    return a->st_mtim.tv_sec > b->st_mtim.tv_sec ||
           (a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec > b->st_mtim.tv_nsec);
}

static bool binary(const char *a, const char *name, const char *b) {
    if (strcmp(name, "=") == 0 || strcmp(name, "==") == 0) return strcmp(a, b) == 0;
    if (strcmp(name, "!=") == 0) return strcmp(a, b) != 0;
    if (strcmp(name, "<") == 0) return strcmp(a, b) < 0;
    if (strcmp(name, ">") == 0) return strcmp(a, b) > 0;
    if (strcmp(name, "-nt") == 0 || strcmp(name, "-ot") == 0 || strcmp(name, "-ef") == 0) {
        struct stat x, y;
        bool is_x = stat(a, &x) == 0, is_y = stat(b, &y) == 0;
        if (name[1] == 'n') return is_x && (!is_y || newer(&x, &y));
        if (name[1] == 'o') return is_y && (!is_x || newer(&y, &x));
        return is_x && is_y && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
    }
    long long x = integer(a), y = integer(b);
    if (strcmp(name, "-eq") == 0) return x == y;
    if (strcmp(name, "-ne") == 0) return x != y;
    if (strcmp(name, "-lt") == 0) return x < y;
    if (strcmp(name, "-le") == 0) return x <= y;
    if (strcmp(name, "-gt") == 0) return x > y;
    return x >= y;
}

static bool is_unary(const char *word) {
    return word[0] == '-' && word[1] != '\0' && word[2] == '\0' && strchr("bcdefghkLnprSstuwxzOG", word[1]) != NULL;
}

static bool unary(char letter, const char *word) {
    struct stat info;
    switch (letter) {
    case 'n': return *word != '\0';
    case 'z': return *word == '\0';
    case 't': return isatty((int)integer(word));
    case 'r': return access(word, R_OK) == 0;
    case 'w': return access(word, W_OK) == 0;
    case 'x': return access(word, X_OK) == 0;
    case 'h':
    case 'L': return lstat(word, &info) == 0 && S_ISLNK(info.st_mode);
    default: break;
    }
    if (stat(word, &info) != 0)
        return false;
    switch (letter) {
    case 'b': return S_ISBLK(info.st_mode);
    case 'c': return S_ISCHR(info.st_mode);
    case 'd': return S_ISDIR(info.st_mode);
    case 'f': return S_ISREG(info.st_mode);
    case 'p': return S_ISFIFO(info.st_mode);
    case 'S': return S_ISSOCK(info.st_mode);
    case 's': return info.st_size > 0;
    case 'g': return (info.st_mode & S_ISGID) != 0;
    case 'u': return (info.st_mode & S_ISUID) != 0;
    case 'k': return (info.st_mode & S_ISVTX) != 0;
    case 'O': return info.st_uid == geteuid();
    case 'G': return info.st_gid == getegid();
    default: return true; /* -e */
    }
}

static bool either(void);

static bool primary(void) {
    if (left == 0)
        wrong("a word is missing");
    if (left >= 3 && is_binary(words[1])) {
        bool result = binary(words[0], words[1], words[2]);
        words += 3;
        left -= 3;
        return result;
    }
    if (strcmp(words[0], "!") == 0 && left > 1) {
        words++;
        left--;
        return !primary();
    }
    if (strcmp(words[0], "(") == 0 && left > 1) {
        words++;
        left--;
        bool result = either();
        if (left == 0 || strcmp(words[0], ")") != 0)
            wrong("a ) is missing");
        words++;
        left--;
        return result;
    }
    if (left >= 2 && is_unary(words[0])) {
        bool result = unary(words[0][1], words[1]);
        words += 2;
        left -= 2;
        return result;
    }
    bool result = words[0][0] != '\0';
    words++;
    left--;
    return result;
}

static bool both(void) {
    bool result = primary();
    while (left > 0 && strcmp(words[0], "-a") == 0) {
        words++;
        left--;
        bool next = primary();
        result = result && next;
    }
    return result;
}

static bool either(void) {
    bool result = both();
    while (left > 0 && strcmp(words[0], "-o") == 0) {
        words++;
        left--;
        bool next = both();
        result = result || next;
    }
    return result;
}

int test_main(int argc, char **argv) {
    if (strcmp(seed_name, "[") == 0) {
        if (argc < 2 || strcmp(argv[argc - 1], "]") != 0)
            wrong("the ] is missing");
        argc--;
    }
    words = argv + 1;
    left = argc - 1;
    if (left == 0)
        return 1;
    bool result = either();
    if (left > 0)
        wrong("there are words left over");
    return result ? 0 : 1;
}
