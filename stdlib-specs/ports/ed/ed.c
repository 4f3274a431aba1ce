/* ed: the line editor. Addresses are numbers, ., $, /text/ and ?text?, with + and -; commands are
   a i c d p n m t s w wq e r f = h q Q. */
#include <seed.h>

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct strings text;
static size_t current; /* 0: before the first line */
static bool changed, warned, quiet;
static char *name;

/* An error is a question mark, and its reason for those who ask (h). */
static const char *reason = "";

static bool fail(const char *why) {
    reason = why;
    puts("?");
    return false;
}

static void insert(size_t after, char *line) {
    strings_add(&text, line);
    memmove(text.at + after + 1, text.at + after, (text.count - 1 - after) * sizeof *text.at);
    text.at[after] = line;
    changed = true;
}

static char *take(size_t line) {
    char *taken = text.at[line - 1];
    memmove(text.at + line - 1, text.at + line, (text.count - line) * sizeof *text.at);
    text.count--;
    changed = true;
    return taken;
}

static bool find(const char *pattern, bool back, size_t *line) {
    static char *last;
    if (*pattern != '\0') {
        free(last);
        last = xstrdup(pattern);
    }
    regex_t compiled;
    if (last == NULL)
        return fail("nothing was searched for before");
    if (regcomp(&compiled, last, REG_NOSUB) != 0)
        return fail("the pattern is wrong");
    bool found = false;
    for (size_t i = 1; i <= text.count && !found; i++) {
        size_t base = current > 0 ? current - 1 : back ? 0 : text.count - 1;
        size_t at = back ? (base + text.count - i) % text.count : (base + i) % text.count;
        if (regexec(&compiled, text.at[at], 0, NULL, 0) == 0) {
            *line = at + 1;
            found = true;
        }
    }
    regfree(&compiled);
    return found || fail("no line matches");
}

/* Cuts out the text up to `end` (or the end of the line), which may stand in it behind a backslash. */
static char *delimited(char **at, char end) {
    char *from = *at, *to = from, *out = from;
    while (*to != '\0' && *to != end) {
        if (to[0] == '\\' && to[1] == end)
            to++;
        else if (to[0] == '\\' && to[1] != '\0')
            *out++ = *to++;
        *out++ = *to++;
    }
    *at = *to == '\0' ? to : to + 1;
    *out = '\0';
    return from;
}

/* 1: an address, 0: none, -1: a wrong one. */
static int address(char **at, size_t *line) {
    int got = 1;
    long long value = 0;
    while (**at == ' ')
        (*at)++;
    if (isdigit((unsigned char)**at))
        value = strtoll(*at, at, 10);
    else if (**at == '.') {
        value = (long long)current;
        (*at)++;
    } else if (**at == '$') {
        value = (long long)text.count;
        (*at)++;
    } else if (**at == '/' || **at == '?') {
        char end = *(*at)++;
        size_t found;
        if (!find(delimited(at, end), end == '?', &found))
            return -1;
        value = (long long)found;
    } else if (**at == '+' || **at == '-')
        value = (long long)current;
    else
        got = 0;
    while (**at == '+' || **at == '-') {
        long long sign = *(*at)++ == '+' ? 1 : -1;
        value += sign * (isdigit((unsigned char)**at) ? strtoll(*at, at, 10) : 1);
    }
    if (got == 1 && (value < 0 || value > (long long)text.count)) {
        fail("there is no such line");
        return -1;
    }
    *line = (size_t)value;
    return got;
}

static bool load(const char *path, size_t after) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return fail("the file cannot be read");
    }
    char *line = NULL;
    size_t room = 0, bytes = 0;
    ssize_t length;
    while ((length = getline(&line, &room, file)) > 0) {
        bytes += (size_t)length;
        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        insert(after++, xstrdup(line));
    }
    free(line);
    fclose(file);
    current = after;
    if (!quiet)
        printf("%zu\n", bytes);
    return true;
}

static bool save(const char *path, size_t from, size_t to) {
    FILE *file = fopen(path, "we");
    size_t bytes = 0;
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return fail("the file cannot be written");
    }
    for (size_t line = from; line <= to && line > 0; line++)
        bytes += (size_t)fprintf(file, "%s\n", text.at[line - 1]);
    if (fclose(file) != 0)
        return fail("the file cannot be written");
    if (!quiet)
        printf("%zu\n", bytes);
    return true;
}

static void append(size_t after) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    current = after;
    while ((length = getline(&line, &room, stdin)) > 0) {
        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        if (strcmp(line, ".") == 0)
            break;
        insert(current++, xstrdup(line));
    }
    free(line);
}

/* Puts `size` bytes at the end of *out. */
static void add(char **out, size_t *used, const char *bytes, size_t size) {
    *out = xrealloc(*out, *used + size + 1);
    memcpy(*out + *used, bytes, size);
    *used += size;
    (*out)[*used] = '\0';
}

static bool substitute(char *at, size_t from, size_t to) {
    char end = *at++;
    if (end == '\0' || end == ' ')
        return fail("s wants something like s/old/new/");
    char *pattern = xstrdup(delimited(&at, end)), *replacement = xstrdup(delimited(&at, end));
    bool all = strchr(at, 'g') != NULL, print = strchr(at, 'p') != NULL, any = false;
    regex_t compiled;
    if (regcomp(&compiled, pattern, 0) != 0) {
        free(pattern);
        free(replacement);
        return fail("the pattern is wrong");
    }
    for (size_t line = from; line <= to && line > 0; line++) {
        const char *rest = text.at[line - 1];
        char *out = NULL;
        size_t used = 0;
        regmatch_t part[10];
        bool hit = false;
        int flags = 0;
        add(&out, &used, "", 0);
        while (regexec(&compiled, rest, 10, part, flags) == 0) {
            hit = true;
            add(&out, &used, rest, (size_t)part[0].rm_so);
            for (const char *r = replacement; *r != '\0'; r++) {
                int group = -1;
                if (*r == '&')
                    group = 0;
                else if (*r == '\\' && isdigit((unsigned char)r[1]))
                    group = *++r - '0';
                else if (*r == '\\' && r[1] != '\0')
                    r++;
                if (group < 0)
                    add(&out, &used, r, 1);
                else if (part[group].rm_so >= 0)
                    add(&out, &used, rest + part[group].rm_so, (size_t)(part[group].rm_eo - part[group].rm_so));
            }
            rest += part[0].rm_eo;
            if (part[0].rm_eo == part[0].rm_so) {
                if (*rest == '\0')
                    break;
                add(&out, &used, rest++, 1);
            }
            flags = REG_NOTBOL;
            if (!all)
                break;
        }
        if (!hit) {
            free(out);
            continue;
        }
        add(&out, &used, rest, strlen(rest));
        free(text.at[line - 1]);
        text.at[line - 1] = out;
        changed = any = true;
        current = line;
    }
    regfree(&compiled);
    free(pattern);
    free(replacement);
    if (any && print)
        puts(text.at[current - 1]);
    return any || fail("nothing matches");
}

/* False ends the editor. */
static bool command(char *at, bool *good) {
    size_t from = current, to = current, second;
    int count = 0;
    *good = false;
    if (*at == ',' || *at == '%') {
        at++;
        from = text.count > 0 ? 1 : 0;
        to = text.count;
        count = 2;
    } else {
        int got = address(&at, &from);
        if (got < 0)
            return true;
        count = got;
        to = got ? from : current;
        from = to;
        if (got && *at == ',') {
            at++;
            got = address(&at, &second);
            if (got < 0)
                return true;
            to = got ? second : text.count;
            count = 2;
        }
    }
    if (from > to) {
        fail("the lines are the wrong way round");
        return true;
    }
    char letter = *at != '\0' ? *at++ : '\0';
    if (strchr("cdpnmts", letter) != NULL && letter != '\0' && (from == 0 || text.count == 0)) {
        fail("there is no such line");
        return true;
    }
    char *word = at + strspn(at, " ");
    switch (letter) {
    case '\0':
        if (count == 0)
            to = current + 1;
        if (to == 0 || to > text.count) {
            fail("there is no such line");
            return true;
        }
        current = to;
        puts(text.at[current - 1]);
        break;
    case 'a': append(to); break;
    case 'i': append(to > 0 ? to - 1 : 0); break;
    case 'c':
    case 'd':
        for (size_t line = from; line <= to; line++)
            free(take(from));
        current = from <= text.count ? from : text.count;
        if (letter == 'c')
            append(from - 1);
        break;
    case 'p':
    case 'n':
        for (size_t line = from; line <= to; line++)
            if (letter == 'n')
                printf("%zu\t%s\n", line, text.at[line - 1]);
            else
                puts(text.at[line - 1]);
        current = to;
        break;
    case 'm':
    case 't': {
        size_t target = current;
        if (address(&at, &target) < 0)
            return true;
        size_t moved = to - from + 1;
        if (letter == 'm' && target >= from && target <= to) {
            fail("lines cannot move into themselves");
            return true;
        }
        struct strings copy = {0};
        for (size_t i = 0; i < moved; i++)
            strings_add(&copy, letter == 'm' ? take(from) : xstrdup(text.at[from - 1 + i]));
        if (letter == 'm' && target > to)
            target -= moved;
        for (size_t i = 0; i < moved; i++)
            insert(target + i, copy.at[i]);
        free(copy.at);
        current = target + moved;
        break;
    }
    case 's':
        *good = substitute(at, from, to);
        return true;
    case '=': printf("%zu\n", count > 0 ? to : text.count); break;
    case 'f':
        if (*word != '\0') {
            free(name);
            name = xstrdup(word);
        }
        puts(name != NULL ? name : "");
        break;
    case 'w': {
        bool quit = *at == 'q';
        if (quit)
            word = at + 1 + strspn(at + 1, " ");
        if (*word != '\0' && name == NULL)
            name = xstrdup(word);
        const char *path = *word != '\0' ? word : name;
        if (path == NULL) {
            fail("the file has no name");
            return true;
        }
        if (count == 0) {
            from = text.count > 0 ? 1 : 0;
            to = text.count;
        }
        if (!save(path, from, to))
            return true;
        if (count == 0)
            changed = false;
        *good = true;
        return !quit;
    }
    case 'r':
        *good = (*word != '\0' || name != NULL) && load(*word != '\0' ? word : name, count > 0 ? to : text.count);
        return true;
    case 'e':
        if (changed && !warned) {
            warned = true;
            fail("there are changes (again to lose them)");
            return true;
        }
        if (*word != '\0') {
            free(name);
            name = xstrdup(word);
        }
        strings_free(&text);
        current = 0;
        *good = name != NULL && load(name, 0);
        changed = false;
        return true;
    case 'h': puts(reason); break;
    case 'q':
        if (changed && !warned) {
            warned = true;
            fail("there are changes (again to lose them)");
            return true;
        }
        return false;
    case 'Q': return false;
    default: fail("no such command"); return true;
    }
    *good = true;
    return true;
}

static int edit(int argc, char **argv) {
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "s")) != -1)
        switch (letter) {
        case 's': quiet = true; break;
        default: usage();
        }
    if (optind < argc) {
        name = xstrdup(argv[optind]);
        if (access(name, F_OK) == 0)
            load(name, 0);
        changed = false;
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    bool good = true;
    fflush(stdout);
    while ((length = getline(&line, &room, stdin)) > 0) {
        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        bool before = warned;
        if (!command(line, &good)) {
            free(line);
            return status;
        }
        if (before)
            warned = false;
        /* Nobody is there to correct a script: it has failed. */
        if (!good && !isatty(0))
            status = 1;
        fflush(stdout);
    }
    free(line);
    return changed ? 1 : status;
}

int main(int argc, char **argv) {
    static const struct applet applets[] = {{"ed", edit, "[-s] [file]"}, {0}};
    return seed_run(applets, argc, argv);
}
