/* Prints a greeting of somebody. */
void greet(const char *whom);
