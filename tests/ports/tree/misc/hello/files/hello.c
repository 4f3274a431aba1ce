#include <string.h>
#include <greet.h>

int main(void)
{
	greet(strcmp(FLAVOR, "loud") ? "world" : "WORLD");
	return 0;
}
