/* As much of a shell as anybody asks for here: -c 'echo WORDS'. */
#include <curses.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "-c") || strncmp(argv[2], "echo ", 5))
		return 2;
	printf("%s, with %s\n", argv[2] + 5, curses_version());
	return 0;
}
