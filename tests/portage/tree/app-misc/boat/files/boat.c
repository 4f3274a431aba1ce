/* Linked with whichever soname the library has when this is built. */
#include <stdio.h>

int tide(void);

int main(void)
{
	printf("tide %d\n", tide());
	return 0;
}
