/* What the programs of seedling share. */
#ifndef SEED_H
#define SEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

/* --- one program with many names ------------------------------------------------------------- */

struct applet {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *usage; /* the arguments, for the usage line */
};

/* The name the program was called by. */
extern const char *seed_name;

/* Calls the applet named by argv[0], or by argv[1] if the program was called by its own name. Output
   that could not be written makes the status 1. The table ends with a null name. */
int seed_run(const struct applet *table, int argc, char **argv);

/* Messages to standard error, with the program's name in front. The first adds the text of errno. */
void complain_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints how to call the applet and exits with 2. */
_Noreturn void usage(void);

/* --- memory: these never return null ---------------------------------------------------------- */

void *xrealloc(void *old, size_t size);
void *xcalloc(size_t count, size_t size);
char *xstrdup(const char *text);
char *xprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A growing list of strings it owns. */
struct strings {
    char **at;
    size_t count;
    size_t room;
};
void strings_add(struct strings *list, char *text);
void strings_sort(struct strings *list);
void strings_free(struct strings *list);

/* --- paths and files -------------------------------------------------------------------------- */

/* The part after the last slash, never empty; points into `path` or to "/". Cuts slashes at the end. */
char *path_base(char *path);
char *path_join(const char *folder, const char *name);
bool is_folder(const char *path); /* follows symbolic links */
/* The names in a folder but . and .., sorted; false (with errno) if it cannot be read. */
bool folder_read(const char *path, struct strings *names);
/* Makes a folder and those above it; an existing one is fine. */
bool make_folders(const char *path, mode_t mode);
/* Removes a file, or a folder with all that is in it. `quiet`: what is not there is fine. */
bool remove_tree(const char *path, bool quiet);

/* Copies bytes until the end; false with errno. */
bool copy_bytes(int from, int to);
bool write_all(int fd, const void *data, size_t size);

struct copy_options {
    bool recursive; /* folders with their contents, special files as such */
    bool links;     /* symbolic links stay links (those named on the command line too) */
    bool keep;      /* mode, owner and times */
    bool force;     /* remove a target that cannot be written */
    bool replace;   /* remove the target first */
    bool verbose;
};
/* Copies `from` to the path `to`; complains and returns false if something went wrong. */
bool copy_tree(const char *from, const char *to, const struct copy_options *options);

/* Applies `text` (octal, or like u+x,go-w) to `old`; false if it is no mode. */
bool mode_parse(const char *text, mode_t old, bool folder, mode_t *result);
/* "-rwxr-xr-x" */
void mode_text(mode_t mode, char text[11]);

/* --- users: /etc/passwd and /etc/group, read directly ------------------------------------------ */

struct user {
    char *name, *password, *home, *shell;
    uid_t uid;
    gid_t gid;
};
bool user_by_name(const char *name, struct user *user);
bool user_by_id(uid_t uid, struct user *user);
/* A name, or the number as text. The caller frees it. */
char *user_label(uid_t uid);
char *group_label(gid_t gid);
/* A name or a number. */
bool user_parse(const char *text, uid_t *uid);
bool group_parse(const char *text, gid_t *gid);

/* --- numbers ---------------------------------------------------------------------------------- */

/* Decimal numbers with nothing after them. */
bool number_parse(const char *text, long long *number);
/* "12K", "3.4M": four characters or fewer before the unit. */
void number_human(unsigned long long bytes, char text[16]);
/* Seconds with a fraction and an optional unit s, m, h or d. */
bool duration_parse(const char *text, double *seconds);

/* --- SHA-256 ---------------------------------------------------------------------------------- */

struct sha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
    size_t used;
};
void sha256_start(struct sha256 *hash);
void sha256_add(struct sha256 *hash, const void *data, size_t size);
void sha256_end(struct sha256 *hash, uint8_t digest[32]);

#endif
