/* id, whoami, groups. */
#include "shell.h"

#include <stdlib.h>
#include <unistd.h>

static void print_one(unsigned id, char *label, bool named) {
    if (named)
        printf("%s", label);
    else
        printf("%u", id);
    free(label);
}

static int read_groups(gid_t *groups, int room) {
    groups[0] = getegid();
    int count = 1, got = getgroups(room - 1, groups + 1);
    for (int i = 1; i <= got; i++)
        if (groups[i] != groups[0])
            groups[count++] = groups[i];
    return count;
}

int id_main(int argc, char **argv) {
    bool named = false;
    int only = 0, letter;
    while ((letter = getopt(argc, argv, "ugGnr")) != -1)
        switch (letter) {
        case 'u':
        case 'g':
        case 'G': only = letter; break;
        case 'n': named = true; break;
        case 'r': break;
        default: usage();
        }
    uid_t uid = geteuid();
    gid_t groups[65];
    int count = read_groups(groups, 65);
    if (optind < argc) {
        struct user user;
        if (!user_by_name(argv[optind], &user))
            die("no such user: %s", argv[optind]);
        uid = user.uid;
        groups[0] = user.gid;
        count = 1;
    }
    if (only == 'u')
        print_one(uid, user_label(uid), named);
    else if (only == 'g')
        print_one(groups[0], group_label(groups[0]), named);
    else if (only == 'G')
        for (int i = 0; i < count; i++) {
            if (i > 0)
                putchar(' ');
            print_one(groups[i], group_label(groups[i]), named);
        }
    else {
        char *user = user_label(uid), *group = group_label(groups[0]);
        printf("uid=%u(%s) gid=%u(%s)", uid, user, groups[0], group);
        for (int i = 0; i < count; i++) {
            char *label = group_label(groups[i]);
            printf("%s%u(%s)", i == 0 ? " groups=" : ",", groups[i], label);
            free(label);
        }
        free(user);
        free(group);
    }
    putchar('\n');
    return 0;
}

int whoami_main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        usage();
    char *label = user_label(geteuid());
    puts(label);
    free(label);
    return 0;
}

int groups_main(int argc, char **argv) {
    (void)argv;
    if (argc > 1)
        usage();
    gid_t groups[65];
    int count = read_groups(groups, 65);
    for (int i = 0; i < count; i++) {
        char *label = group_label(groups[i]);
        printf("%s%s", i == 0 ? "" : " ", label);
        free(label);
    }
    putchar('\n');
    return 0;
}
