/* Users and groups from /etc/passwd and /etc/group. The C library's functions load libraries at run
   time, which a static program should not need. */
#include "seed.h"

#include <stdlib.h>
#include <string.h>

/* Finds the line of `path` whose field `index` is `key` and cuts it into `count` fields. */
static bool find_line(const char *path, int index, const char *key, char **fields, int count) {
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    while (!found && getline(&line, &room, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *at = line;
        int got = 0;
        while (got < count && at != NULL)
            fields[got++] = strsep(&at, ":");
        found = got == count && strcmp(fields[index], key) == 0;
    }
    fclose(file);
    if (!found)
        free(line); /* otherwise the fields point into it */
    return found;
}

static bool find_user(int index, const char *key, struct user *user) {
    char *fields[7];
    long long uid, gid;
    if (!find_line("/etc/passwd", index, key, fields, 7) || !number_parse(fields[2], &uid) ||
        !number_parse(fields[3], &gid))
        return false;
    *user = (struct user){.name = fields[0], .password = fields[1], .home = fields[5],
                          .shell = fields[6], .uid = (uid_t)uid, .gid = (gid_t)gid};
    return true;
}

bool user_by_name(const char *name, struct user *user) { return find_user(0, name, user); }

bool user_by_id(uid_t uid, struct user *user) {
    char key[24];
    snprintf(key, sizeof key, "%llu", (unsigned long long)uid);
    return find_user(2, key, user);
}

char *user_label(uid_t uid) {
    struct user user;
    if (user_by_id(uid, &user))
        return xstrdup(user.name);
    return xprintf("%llu", (unsigned long long)uid);
}

char *group_label(gid_t gid) {
    char key[24], *fields[3];
    snprintf(key, sizeof key, "%llu", (unsigned long long)gid);
    return xstrdup(find_line("/etc/group", 2, key, fields, 3) ? fields[0] : key);
}

bool user_parse(const char *text, uid_t *uid) {
    struct user user;
    long long number;
    if (user_by_name(text, &user)) {
        *uid = user.uid;
        return true;
    }
    if (!number_parse(text, &number) || number < 0 || number > UINT32_MAX)
        return false;
    *uid = (uid_t)number;
    return true;
}

bool group_parse(const char *text, gid_t *gid) {
    char *fields[3];
    long long number;
    if (find_line("/etc/group", 0, text, fields, 3))
        text = fields[2];
    if (!number_parse(text, &number) || number < 0 || number > UINT32_MAX)
        return false;
    *gid = (gid_t)number;
    return true;
}
