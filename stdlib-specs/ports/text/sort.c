/* sort: puts lines in order, by their bytes. */
#include "text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct order {
    bool number, reverse, fold, blanks;
};

struct key {
    long field, byte;         /* where it starts, counted from 1 */
    long end_field, end_byte; /* where it ends; 0: the end of the line, or of the field */
    struct order order;
    bool own_order;
};

static struct key keys[16];
static int key_count;
static struct order global;
static bool unique, stable;
static int separator = -1;
static char end_of_line = '\n';

/* The start of field number `field` (from 1) of a line. */
static const char *find_field(const char *text, long field) {
    for (; field > 1; field--) {
        if (separator >= 0) {
            const char *next = strchr(text, separator);
            if (next == NULL)
                return text + strlen(text);
            text = next + 1;
        } else {
            while (*text == ' ' || *text == '\t')
                text++;
            while (*text != '\0' && *text != ' ' && *text != '\t')
                text++;
        }
    }
    return text;
}

static const char *field_end(const char *text) {
    if (separator >= 0) {
        const char *next = strchr(text, separator);
        return next != NULL ? next : text + strlen(text);
    }
    return find_field(text, 2);
}

static void cut_key(const struct key *key, const char *line, const char **from, const char **to) {
    const char *start = find_field(line, key->field);
    if (key->order.blanks)
        start += strspn(start, " \t");
    for (long i = 1; i < key->byte && *start != '\0'; i++)
        start++;
    const char *end;
    if (key->end_field == 0)
        end = start + strlen(start);
    else if (key->end_byte == 0)
        end = field_end(find_field(line, key->end_field));
    else {
        end = find_field(line, key->end_field);
        for (long i = 0; i < key->end_byte && *end != '\0'; i++)
            end++;
    }
    *from = start;
    *to = end > start ? end : start;
}

static int compare_numbers(const char *a, const char *b) {
    double x = strtod(a, NULL), y = strtod(b, NULL);
    return (x > y) - (x < y);
}

static int compare_parts(const char *a, const char *a_end, const char *b, const char *b_end,
                         const struct order *order) {
    int result = 0;
    if (order->number) {
        char x[64], y[64];
        snprintf(x, sizeof x, "%.*s", (int)(a_end - a < 63 ? a_end - a : 63), a);
        snprintf(y, sizeof y, "%.*s", (int)(b_end - b < 63 ? b_end - b : 63), b);
        result = compare_numbers(x, y);
    } else {
        while (result == 0 && a < a_end && b < b_end) {
            int x = (unsigned char)*a++, y = (unsigned char)*b++;
            result = order->fold ? toupper(x) - toupper(y) : x - y;
        }
        if (result == 0)
            result = (a < a_end) - (b < b_end);
    }
    return order->reverse ? -result : result;
}

static int compare_keys(const char *a, const char *b) {
    if (key_count == 0) {
        const char *x = global.blanks ? a + strspn(a, " \t") : a;
        const char *y = global.blanks ? b + strspn(b, " \t") : b;
        return compare_parts(x, x + strlen(x), y, y + strlen(y), &global);
    }
    for (int i = 0; i < key_count; i++) {
        const char *from_a, *to_a, *from_b, *to_b;
        cut_key(&keys[i], a, &from_a, &to_a);
        cut_key(&keys[i], b, &from_b, &to_b);
        int result = compare_parts(from_a, to_a, from_b, to_b, &keys[i].order);
        if (result != 0)
            return result;
    }
    return 0;
}

struct line {
    char *text;
    size_t position;
};

static int compare(const void *left, const void *right) {
    const struct line *a = left, *b = right;
    int result = compare_keys(a->text, b->text);
    if (result == 0 && !stable && !unique) {
        result = strcmp(a->text, b->text);
        if (global.reverse)
            result = -result;
    }
    return result != 0 ? result : (a->position > b->position) - (a->position < b->position);
}

static bool order_letter(char letter, struct order *order) {
    switch (letter) {
    case 'n': order->number = true; return true;
    case 'r': order->reverse = true; return true;
    case 'f': order->fold = true; return true;
    case 'b': order->blanks = true; return true;
    default: return false;
    }
}

static void add_key(const char *text) {
    if (key_count == (int)(sizeof keys / sizeof *keys))
        die("too many keys");
    struct key *key = &keys[key_count++];
    char *at;
    key->field = strtol(text, &at, 10);
    key->byte = *at == '.' ? strtol(at + 1, &at, 10) : 1;
    while (order_letter(*at, &key->order)) {
        key->own_order = true;
        at++;
    }
    if (*at == ',') {
        key->end_field = strtol(at + 1, &at, 10);
        if (*at == '.')
            key->end_byte = strtol(at + 1, &at, 10);
        while (order_letter(*at, &key->order)) {
            key->own_order = true;
            at++;
        }
        if (key->end_field < 1)
            die("not a key: %s", text);
    }
    if (*at != '\0' || key->field < 1 || key->byte < 1)
        die("not a key: %s", text);
}

int sort_main(int argc, char **argv) {
    bool check = false;
    const char *output = NULL;
    int letter;
    while ((letter = getopt(argc, argv, "bcfmnrsuzk:t:o:")) != -1)
        switch (letter) {
        case 'c': check = true; break;
        case 'm': break; /* merging sorted files is sorting them */
        case 's': stable = true; break;
        case 'u': unique = true; break;
        case 'z': end_of_line = '\0'; break;
        case 'k': add_key(optarg); break;
        case 't':
            if (optarg[0] == '\0' || (optarg[1] != '\0' && strcmp(optarg, "\\t") != 0))
                die("a separator is one character: %s", optarg);
            separator = optarg[1] != '\0' ? '\t' : (unsigned char)optarg[0];
            break;
        case 'o': output = optarg; break;
        default:
            if (!order_letter((char)letter, &global))
                usage();
        }
    for (int i = 0; i < key_count; i++)
        if (!keys[i].own_order)
            keys[i].order = global;

    struct line *lines = NULL;
    size_t count = 0, room = 0;
    int status = 0;
    static char *standard[] = {"-", NULL};
    for (char **name = optind < argc ? argv + optind : standard; *name != NULL; name++) {
        FILE *file = input_open(*name);
        if (file == NULL) {
            status = 2;
            continue;
        }
        char *text = NULL;
        size_t size = 0;
        ssize_t length;
        while ((length = getdelim(&text, &size, end_of_line, file)) > 0) {
            if (text[length - 1] == end_of_line)
                text[--length] = '\0';
            if (count == room) {
                room = room != 0 ? 2 * room : 1024;
                lines = xrealloc(lines, room * sizeof *lines);
            }
            lines[count] = (struct line){xstrdup(text), count};
            count++;
        }
        free(text);
        input_close(file);
    }
    if (check) {
        for (size_t i = 1; i < count; i++) {
            int result = compare_keys(lines[i - 1].text, lines[i].text);
            if (result == 0 && !unique && !stable)
                result = compare(&lines[i - 1], &lines[i]);
            if (result > 0 || (unique && result == 0)) {
                complain("not in order: line %zu: %s", i + 1, lines[i].text);
                return 1;
            }
        }
        return status;
    }
    if (count > 1)
        qsort(lines, count, sizeof *lines, compare);
    if (output != NULL && freopen(output, "we", stdout) == NULL)
        die_errno("%s", output);
    for (size_t i = 0; i < count; i++)
        if (!unique || i == 0 || compare_keys(lines[i - 1].text, lines[i].text) != 0) {
            fputs(lines[i].text, stdout);
            putchar(end_of_line);
        }
    return status;
}
