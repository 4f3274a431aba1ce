#ifndef TEXT_H
#define TEXT_H

#include <seed.h>

int head_main(int, char **), tail_main(int, char **), wc_main(int, char **), sort_main(int, char **),
    uniq_main(int, char **), comm_main(int, char **), grep_main(int, char **), cut_main(int, char **),
    paste_main(int, char **), tr_main(int, char **), tee_main(int, char **), nl_main(int, char **),
    rev_main(int, char **), cmp_main(int, char **), sha256sum_main(int, char **);

/* Opens a file for reading, "-" being standard input; complains and returns null if it cannot. */
FILE *input_open(const char *name);
void input_close(FILE *file);
/* Reads a line without its line feed into *line; the length, or -1 at the end. */
ssize_t input_line(FILE *file, char **line, size_t *room);
/* Calls `one` for every file named, or for standard input. Returns the status for the shell. */
int each_input(char **names, bool (*one)(FILE *file, const char *name));

#endif
