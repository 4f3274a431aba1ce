/* grep: lines that match a pattern. */
#include "text.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    bool extended, fixed, name, no_name, count, ignore_case, list, list_without, number, only, quiet, recursive,
        silent, invert, word, whole;
    long long limit;
} opt = {.limit = -1};

static struct strings patterns;
static regex_t *compiled;
static bool matched_any;
static int trouble;

static void add_patterns(const char *text) {
    for (;;) {
        size_t length = strcspn(text, "\n");
        strings_add(&patterns, xprintf("%.*s", (int)length, text));
        if (text[length] == '\0')
            return;
        text += length + 1;
    }
}

static bool word_byte(char byte) { return isalnum((unsigned char)byte) || byte == '_'; }

/* A match of pattern `index` in `line` at or after `from`. */
static bool match_one(size_t index, const char *line, size_t from, regmatch_t *at) {
    const char *pattern = patterns.at[index];
    if (!opt.fixed) {
        if (regexec(&compiled[index], line + from, 1, at, from > 0 ? REG_NOTBOL : 0) != 0)
            return false;
        at->rm_so += (regoff_t)from;
        at->rm_eo += (regoff_t)from;
        return true;
    }
    const char *found = opt.ignore_case ? strcasestr(line + from, pattern) : strstr(line + from, pattern);
    if (found == NULL)
        return false;
    at->rm_so = (regoff_t)(found - line);
    at->rm_eo = at->rm_so + (regoff_t)strlen(pattern);
    return true;
}

/* The leftmost longest match of any pattern at or after `from`. */
static bool match(const char *line, size_t length, size_t from, regmatch_t *best) {
    bool found = false;
    for (size_t i = 0; i < patterns.count; i++) {
        regmatch_t at;
        for (size_t start = from; start <= length && match_one(i, line, start, &at);) {
            size_t so = (size_t)at.rm_so, eo = (size_t)at.rm_eo;
            bool fits = true;
            if (opt.whole)
                fits = so == 0 && eo == length;
            else if (opt.word)
                fits = (so == 0 || !word_byte(line[so - 1])) && (eo == length || !word_byte(line[eo]));
            if (!fits) {
                start = so + 1;
                continue;
            }
            if (!found || at.rm_so < best->rm_so || (at.rm_so == best->rm_so && at.rm_eo > best->rm_eo))
                *best = at;
            found = true;
            break;
        }
    }
    return found;
}

static void print_prefix(const char *name, bool named, unsigned long long line) {
    if (named)
        printf("%s:", name);
    if (opt.number)
        printf("%llu:", line);
}

static void search(FILE *file, const char *name, bool named) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    unsigned long long number = 0, hits = 0;
    while ((opt.limit < 0 || hits < (unsigned long long)opt.limit) && (length = getline(&line, &room, file)) > 0) {
        if (line[length - 1] == '\n')
            line[--length] = '\0';
        number++;
        regmatch_t at;
        bool hit = match(line, (size_t)length, 0, &at);
        if (hit == opt.invert)
            continue;
        hits++;
        matched_any = true;
        if (opt.quiet || opt.list || opt.list_without)
            break;
        if (opt.count)
            continue;
        if (!opt.only) {
            print_prefix(name, named, number);
            fwrite(line, 1, (size_t)length, stdout);
            putchar('\n');
        } else if (!opt.invert) {
            do {
                if (at.rm_eo > at.rm_so) {
                    print_prefix(name, named, number);
                    printf("%.*s\n", (int)(at.rm_eo - at.rm_so), line + at.rm_so);
                }
            } while (match(line, (size_t)length, (size_t)(at.rm_eo > at.rm_so ? at.rm_eo : at.rm_eo + 1), &at));
        }
    }
    if (ferror(file)) {
        if (!opt.silent)
            complain_errno("%s", name);
        trouble = 2;
    }
    free(line);
    if (opt.quiet)
        return;
    if (opt.list ? hits > 0 : opt.list_without && hits == 0)
        puts(name);
    else if (opt.count && !opt.list && !opt.list_without) {
        if (named)
            printf("%s:", name);
        printf("%llu\n", hits);
    }
}

static void search_path(const char *path, bool named, bool outermost) {
    struct stat info;
    if (opt.recursive && strcmp(path, "-") != 0 && (outermost ? stat(path, &info) : lstat(path, &info)) == 0) {
        if (S_ISDIR(info.st_mode)) {
            struct strings names = {0};
            if (!folder_read(path, &names)) {
                complain_errno("%s", path);
                trouble = 2;
            }
            for (size_t i = 0; i < names.count; i++) {
                char *inner = path_join(path, names.at[i]);
                search_path(inner, named, false);
                free(inner);
            }
            strings_free(&names);
            return;
        }
        if (!outermost && !S_ISREG(info.st_mode))
            return;
    }
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (file == NULL) {
        if (!opt.silent)
            complain_errno("%s", path);
        trouble = 2;
        return;
    }
    search(file, path, named);
    if (file != stdin)
        fclose(file);
}

int grep_main(int argc, char **argv) {
    bool given = false;
    opt.extended = strcmp(seed_name, "egrep") == 0;
    opt.fixed = strcmp(seed_name, "fgrep") == 0;
    int letter;
    while ((letter = getopt(argc, argv, "EFGHLce:f:hilm:noqrRsvwxya")) != -1)
        switch (letter) {
        case 'E': opt.extended = true; opt.fixed = false; break;
        case 'F': opt.fixed = true; break;
        case 'G': opt.extended = opt.fixed = false; break;
        case 'H': opt.name = true; break;
        case 'L': opt.list_without = true; break;
        case 'a': break; /* every file is text here */
        case 'c': opt.count = true; break;
        case 'e': add_patterns(optarg); given = true; break;
        case 'f': {
            FILE *file = input_open(optarg);
            if (file == NULL)
                return 2;
            char *line = NULL;
            size_t room = 0;
            while (input_line(file, &line, &room) >= 0)
                strings_add(&patterns, xstrdup(line));
            free(line);
            input_close(file);
            given = true;
            break;
        }
        case 'h': opt.no_name = true; break;
        case 'i':
        case 'y': opt.ignore_case = true; break;
        case 'l': opt.list = true; break;
        case 'm':
            if (!number_parse(optarg, &opt.limit))
                usage();
            break;
        case 'n': opt.number = true; break;
        case 'o': opt.only = true; break;
        case 'q': opt.quiet = true; break;
        case 'r':
        case 'R': opt.recursive = true; break;
        case 's': opt.silent = true; break;
        case 'v': opt.invert = true; break;
        case 'w': opt.word = true; break;
        case 'x': opt.whole = true; break;
        default: usage();
        }
    if (!given) {
        if (optind == argc)
            usage();
        add_patterns(argv[optind++]);
    }
    if (!opt.fixed) {
        compiled = xcalloc(patterns.count, sizeof *compiled);
        int flags = (opt.extended ? REG_EXTENDED : 0) | (opt.ignore_case ? REG_ICASE : 0);
        for (size_t i = 0; i < patterns.count; i++) {
            int error = regcomp(&compiled[i], patterns.at[i], flags);
            if (error != 0) {
                char text[256];
                regerror(error, &compiled[i], text, sizeof text);
                complain("%s: %s", patterns.at[i], text);
                return 2;
            }
        }
    }
    static char *standard[] = {"-", NULL}, *here[] = {".", NULL};
    char **names = optind < argc ? argv + optind : opt.recursive ? here : standard;
    bool named = !opt.no_name && (opt.name || argc - optind > 1 || opt.recursive);
    for (; *names != NULL && !(opt.quiet && matched_any); names++)
        search_path(*names, named, true);
    if (trouble != 0 && !(opt.quiet && matched_any))
        return trouble;
    return matched_any ? 0 : 1;
}
