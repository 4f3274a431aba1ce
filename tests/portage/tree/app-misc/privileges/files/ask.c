/* Needs a library that only the loader's cache knows of. */
#include <stdio.h>

int answer(void);

int main(void)
{
	printf("%d\n", answer());
	return 0;
}
