/* echo and printf. */
#include "shell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool print_escape(const char **text, bool zero) {
    static const char letters[] = "abfnrtv", values[] = "\a\b\f\n\r\t\v";
    const char *at = *text;
    const char *found = *at != '\0' ? strchr(letters, *at) : NULL;
    if (*at == 'c') {
        return false;
    } else if (found != NULL) {
        putchar(values[found - letters]);
        at++;
    } else if (*at == 'e') {
        putchar('\033');
        at++;
    } else if (*at == '\\' || *at == '"' || *at == '\'') {
        putchar(*at++);
    } else if (*at == 'x') {
        char digits[3] = {0};
        for (int i = 0; i < 2 && strchr("0123456789abcdefABCDEF", at[i + 1]) != NULL && at[i + 1] != '\0'; i++)
            digits[i] = at[i + 1];
        if (digits[0] == '\0')
            putchar('\\');
        else {
            putchar((int)strtol(digits, NULL, 16));
            at += 1 + strlen(digits);
        }
    } else if (*at >= '0' && *at <= '7' && (!zero || *at == '0')) {
        unsigned value = 0;
        int most = zero ? 4 : 3;
        for (int i = 0; i < most && *at >= '0' && *at <= '7'; i++)
            value = value * 8 + (unsigned)(*at++ - '0');
        putchar((int)(value & 255));
    } else
        putchar('\\');
    *text = at;
    return true;
}

int echo_main(int argc, char **argv) {
    bool line_feed = true, escapes = false;
    int at = 1;
    for (; at < argc && argv[at][0] == '-' && argv[at][1] != '\0' && strspn(argv[at] + 1, "neE") == strlen(argv[at] + 1);
         at++) {
        if (strchr(argv[at], 'n') != NULL) line_feed = false;
        if (strchr(argv[at], 'e') != NULL) escapes = true;
        if (strchr(argv[at], 'E') != NULL) escapes = false;
    }
    for (int first = at; at < argc; at++) {
        if (at > first)
            putchar(' ');
        if (!escapes) {
            fputs(argv[at], stdout);
            continue;
        }
        for (const char *text = argv[at]; *text != '\0';)
            if (*text != '\\')
                putchar(*text++);
            else {
                text++;
                if (!print_escape(&text, true))
                    return 0;
            }
    }
    if (line_feed)
        putchar('\n');
    return 0;
}

static int status;

static long long integer(const char *text) {
    if (text[0] == '\'' || text[0] == '"')
        return (unsigned char)text[1];
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 0);
    if (*text != '\0' && (*end != '\0' || errno != 0)) {
        complain("not a number: %s", text);
        status = 1;
    }
    return value;
}

/* One conversion, whose text (without the %) is `form`. False if output ends. */
static bool convert(const char *form, size_t length, char kind, const char *argument) {
    char format[64];
    if (length > 40)
        die("the conversion is too long");
    bool number = strchr("diouxX", kind) != NULL;
    snprintf(format, sizeof format, "%%%.*s%s%c", (int)(length - 1), form, number ? "ll" : "", kind == 'b' ? 's' : kind);
    switch (kind) {
    case 'd':
    case 'i': printf(format, integer(argument)); return true;
    case 'o':
    case 'u':
    case 'x':
    case 'X': printf(format, (unsigned long long)integer(argument)); return true;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G': printf(format, strtod(argument, NULL)); return true;
    case 'c':
        if (*argument != '\0')
            printf(format, *argument);
        return true;
    case 's': printf(format, argument); return true;
    case 'b':
        for (const char *text = argument; *text != '\0';)
            if (*text != '\\')
                putchar(*text++);
            else {
                text++;
                if (!print_escape(&text, true))
                    return false;
            }
        return true;
    default: die("no such conversion: %%%c", kind);
    }
}

int printf_main(int argc, char **argv) {
    if (argc < 2)
        usage();
    const char *format = argv[1];
    int next = 2;
    bool used;
    do {
        used = false;
        for (const char *at = format; *at != '\0';) {
            if (*at == '\\') {
                at++;
                if (!print_escape(&at, false))
                    return status;
            } else if (*at != '%') {
                putchar(*at++);
            } else if (at[1] == '%') {
                putchar('%');
                at += 2;
            } else {
                char form[64];
                size_t length = 0;
                at++;
                while (*at != '\0' && strchr("-+ #0123456789.*", *at) != NULL && length < 40) {
                    if (*at == '*') {
                        length += (size_t)snprintf(form + length, sizeof form - length, "%d",
                                                   next < argc ? (int)integer(argv[next++]) : 0);
                        used = true;
                    } else
                        form[length++] = *at;
                    at++;
                }
                if (*at == '\0')
                    die("a conversion without a letter: %s", format);
                form[length++] = *at;
                const char *argument = next < argc ? argv[next++] : "";
                used = true;
                if (!convert(form, length, *at, argument))
                    return status;
                at++;
            }
        }
        /* The format is used again for what is left, if it takes anything at all. */
    } while (used && next < argc);
    return status;
}
