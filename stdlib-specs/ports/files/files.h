#ifndef FILES_H
#define FILES_H

int ls_main(int, char **), cat_main(int, char **), cp_main(int, char **), mv_main(int, char **),
    rm_main(int, char **), mkdir_main(int, char **), rmdir_main(int, char **), ln_main(int, char **),
    readlink_main(int, char **), chmod_main(int, char **), chown_main(int, char **),
    touch_main(int, char **), install_main(int, char **), mktemp_main(int, char **),
    du_main(int, char **), df_main(int, char **), sync_main(int, char **), mkfifo_main(int, char **);

/* Calls `one` for each source of `[-t folder] from... to`, with the path that it gets: inside the
   folder `to`, or `to` itself. Returns the status for the shell. `plain`: `to` is never a folder to put
   things into, even if it is one. */
struct pair_options {
    const char *folder; /* of -t, or null */
    bool plain;         /* of -T */
    bool no_follow;     /* a link to a folder is no folder */
};
int each_pair(int count, char **paths, const struct pair_options *options,
              bool (*one)(const char *from, const char *to, void *data), void *data);

#endif
