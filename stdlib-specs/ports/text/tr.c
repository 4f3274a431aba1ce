/* tr: replaces, deletes and squeezes bytes. */
#include "text.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

struct set {
    unsigned char at[4096];
    size_t count;
};

static void add(struct set *set, unsigned byte) {
    if (set->count == sizeof set->at)
        die("the set is too long");
    set->at[set->count++] = (unsigned char)byte;
}

static unsigned one_byte(const char **text) {
    const char *at = *text;
    if (*at != '\\' || at[1] == '\0') {
        (*text)++;
        return (unsigned char)*at;
    }
    at++;
    if (*at >= '0' && *at <= '7') {
        unsigned value = 0;
        for (int i = 0; i < 3 && *at >= '0' && *at <= '7'; i++)
            value = value * 8 + (unsigned)(*at++ - '0');
        *text = at;
        return value & 255;
    }
    static const char letters[] = "abfnrtv", values[] = "\a\b\f\n\r\t\v";
    const char *found = strchr(letters, *at);
    unsigned byte = (unsigned char)(found != NULL ? values[found - letters] : *at);
    *text = at + 1;
    return byte;
}

static void parse(const char *text, struct set *set) {
    static const struct {
        const char *name;
        int (*is)(int);
    } classes[] = {{"alpha", isalpha}, {"digit", isdigit}, {"alnum", isalnum}, {"upper", isupper},
                   {"lower", islower}, {"space", isspace}, {"blank", isblank}, {"punct", ispunct},
                   {"print", isprint}, {"graph", isgraph}, {"cntrl", iscntrl}, {"xdigit", isxdigit}};
    while (*text != '\0') {
        if (text[0] == '[' && text[1] == ':') {
            const char *end = strstr(text + 2, ":]");
            size_t i, count = sizeof classes / sizeof *classes;
            for (i = 0; end != NULL && i < count; i++)
                if (strlen(classes[i].name) == (size_t)(end - text - 2) &&
                    strncmp(classes[i].name, text + 2, (size_t)(end - text - 2)) == 0)
                    break;
            if (end == NULL || i == count)
                die("no such class: %s", text);
            for (int byte = 0; byte < 256; byte++)
                if (classes[i].is(byte))
                    add(set, (unsigned)byte);
            text = end + 2;
            continue;
        }
        unsigned from = one_byte(&text);
        if (text[0] == '-' && text[1] != '\0') {
            text++;
            unsigned to = one_byte(&text);
            if (to < from)
                die("a range runs upwards");
            for (; from <= to; from++)
                add(set, from);
        } else
            add(set, from);
    }
}

int tr_main(int argc, char **argv) {
    bool complement = false, delete = false, squeeze = false;
    int letter;
    while ((letter = getopt(argc, argv, "cCds")) != -1)
        switch (letter) {
        case 'c':
        case 'C': complement = true; break;
        case 'd': delete = true; break;
        case 's': squeeze = true; break;
        default: usage();
        }
    int count = argc - optind;
    if (count < 1 || count > 2 || (count == 1 && !delete && !squeeze) || (count == 2 && delete && !squeeze))
        usage();
    static struct set one, two, other;
    bool in_one[256] = {false}, in_last[256] = {false};
    parse(argv[optind], &one);
    if (count == 2)
        parse(argv[optind + 1], &two);
    for (size_t i = 0; i < one.count; i++)
        in_one[one.at[i]] = true;
    if (complement) {
        for (unsigned byte = 0; byte < 256; byte++) {
            in_one[byte] = !in_one[byte];
            if (in_one[byte])
                add(&other, byte);
        }
        one = other;
    }
    unsigned char map[256];
    for (unsigned byte = 0; byte < 256; byte++)
        map[byte] = (unsigned char)byte;
    if (count == 2 && !delete) {
        if (two.count == 0)
            die("the second set is empty");
        for (size_t i = 0; i < one.count; i++)
            map[one.at[i]] = two.at[i < two.count ? i : two.count - 1];
    }
    const struct set *last = count == 2 ? &two : &one;
    for (size_t i = 0; i < last->count; i++)
        in_last[last->at[i]] = true;
    int byte, before = -1;
    while ((byte = getc_unlocked(stdin)) != EOF) {
        if (delete && in_one[byte])
            continue;
        byte = map[byte];
        if (squeeze && byte == before && in_last[byte])
            continue;
        putc_unlocked(byte, stdout);
        before = byte;
    }
    return ferror(stdin) ? 1 : 0;
}
