/* Numbers as text. */
#include "seed.h"

#include <errno.h>
#include <stdlib.h>

bool number_parse(const char *text, long long *number) {
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

void number_human(unsigned long long bytes, char text[16]) {
    static const char units[] = "BKMGTPE";
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 1024 && unit + 2 < sizeof units) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(text, 16, "%lluB", bytes);
    else
        snprintf(text, 16, value < 10 ? "%.1f%c" : "%.0f%c", value, units[unit]);
}

bool duration_parse(const char *text, double *seconds) {
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || !(value >= 0))
        return false;
    switch (*end) {
    case 'd': value *= 24; /* fall through */
    case 'h': value *= 60; /* fall through */
    case 'm': value *= 60; /* fall through */
    case 's': end++; break;
    default: break;
    }
    *seconds = value;
    return *end == '\0';
}
