/* File modes as text. */
#include "seed.h"

#include <string.h>

static mode_t class_bits(unsigned classes, unsigned bits) {
    mode_t mode = 0;
    for (int shift = 0; shift < 3; shift++)
        if (classes & (1u << shift))
            mode |= (mode_t)(bits << (3 * shift));
    return mode;
}

bool mode_parse(const char *text, mode_t old, bool folder, mode_t *result) {
    if (*text >= '0' && *text <= '7') {
        unsigned value = 0;
        for (; *text >= '0' && *text <= '7' && value <= 07777; text++)
            value = value * 8 + (unsigned)(*text - '0');
        *result = value;
        return *text == '\0' && value <= 07777;
    }
    mode_t mode = old & 07777;
    mode_t mask = umask(0);
    umask(mask);
    for (;;) {
        unsigned classes = 0; /* 1 others, 2 group, 4 owner */
        bool named = true;
        for (;; text++) {
            if (*text == 'u') classes |= 4;
            else if (*text == 'g') classes |= 2;
            else if (*text == 'o') classes |= 1;
            else if (*text == 'a') classes |= 7;
            else break;
        }
        if (classes == 0) {
            classes = 7;
            named = false;
        }
        if (*text != '+' && *text != '-' && *text != '=')
            return false;
        while (*text == '+' || *text == '-' || *text == '=') {
            char operation = *text++;
            unsigned bits = 0;
            mode_t special = 0, copied = 0;
            for (;; text++) {
                if (*text == 'r') bits |= 4;
                else if (*text == 'w') bits |= 2;
                else if (*text == 'x') bits |= 1;
                else if (*text == 'X') {
                    if (folder || (mode & 0111) != 0) bits |= 1;
                } else if (*text == 's') {
                    if (classes & 4) special |= 04000;
                    if (classes & 2) special |= 02000;
                } else if (*text == 't') special |= 01000;
                else if (*text == 'u') copied |= class_bits(classes, (mode >> 6) & 7);
                else if (*text == 'g') copied |= class_bits(classes, (mode >> 3) & 7);
                else if (*text == 'o') copied |= class_bits(classes, mode & 7);
                else break;
            }
            mode_t change = class_bits(classes, bits) | special | copied;
            if (!named)
                change &= ~(mask & 0777);
            if (operation == '+')
                mode |= change;
            else if (operation == '-')
                mode &= ~change;
            else {
                mode_t cleared = class_bits(classes, 7);
                if (!folder && (classes & 4)) cleared |= 04000;
                if (!folder && (classes & 2)) cleared |= 02000;
                mode = (mode & ~cleared) | change;
            }
        }
        if (*text == '\0') {
            *result = mode;
            return true;
        }
        if (*text++ != ',')
            return false;
    }
}

void mode_text(mode_t mode, char text[11]) {
    char kind = '?';
    if (S_ISREG(mode)) kind = '-';
    else if (S_ISDIR(mode)) kind = 'd';
    else if (S_ISLNK(mode)) kind = 'l';
    else if (S_ISCHR(mode)) kind = 'c';
    else if (S_ISBLK(mode)) kind = 'b';
    else if (S_ISFIFO(mode)) kind = 'p';
    else if (S_ISSOCK(mode)) kind = 's';
    text[0] = kind;
    for (int i = 0; i < 9; i++)
        text[i + 1] = (mode & (0400u >> i)) ? "rwx"[i % 3] : '-';
    if (mode & 04000) text[3] = (mode & 0100) ? 's' : 'S';
    if (mode & 02000) text[6] = (mode & 0010) ? 's' : 'S';
    if (mode & 01000) text[9] = (mode & 0001) ? 't' : 'T';
    text[10] = '\0';
}
