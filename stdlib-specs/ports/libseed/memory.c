/* Memory that is there, or the end of the program. */
#include "seed.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void *xrealloc(void *old, size_t size) {
    void *memory = realloc(old, size != 0 ? size : 1);
    if (memory == NULL)
        die("out of memory");
    return memory;
}

void *xcalloc(size_t count, size_t size) {
    void *memory = calloc(count != 0 ? count : 1, size != 0 ? size : 1);
    if (memory == NULL)
        die("out of memory");
    return memory;
}

char *xstrdup(const char *text) {
    size_t size = strlen(text) + 1;
    return memcpy(xrealloc(NULL, size), text, size);
}

char *xprintf(const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        die("out of memory");
    return text;
}

void strings_add(struct strings *list, char *text) {
    if (list->count == list->room) {
        list->room = list->room != 0 ? 2 * list->room : 16;
        list->at = xrealloc(list->at, list->room * sizeof *list->at);
    }
    list->at[list->count++] = text;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void strings_sort(struct strings *list) {
    if (list->count > 1)
        qsort(list->at, list->count, sizeof *list->at, compare);
}

void strings_free(struct strings *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct strings){0};
}
