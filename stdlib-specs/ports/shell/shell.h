#ifndef SHELL_H
#define SHELL_H

#include <seed.h>

int echo_main(int, char **), printf_main(int, char **), test_main(int, char **), env_main(int, char **),
    printenv_main(int, char **), nohup_main(int, char **), id_main(int, char **), whoami_main(int, char **),
    groups_main(int, char **), date_main(int, char **), uname_main(int, char **), hostname_main(int, char **),
    nproc_main(int, char **), sleep_main(int, char **), true_main(int, char **), false_main(int, char **),
    yes_main(int, char **), seq_main(int, char **), basename_main(int, char **), dirname_main(int, char **),
    pwd_main(int, char **), tty_main(int, char **);

/* Prints the character that the escape at *text (after the backslash) stands for and moves past it; false
   for \c, which ends all output. `zero`: octal escapes start with 0, as in echo. */
bool print_escape(const char **text, bool zero);

#endif
