/* files: programs for files and folders. */
#include <seed.h>

#include "files.h"

static const struct applet applets[] = {
    {"ls", ls_main, "[-aA1dFhilnRrSt] [path...]"},
    {"cat", cat_main, "[-nu] [file...]"},
    {"cp", cp_main, "[-adfprRPLTv] [-t folder] from... to"},
    {"mv", mv_main, "[-fnTv] [-t folder] from... to"},
    {"rm", rm_main, "[-frRv] path..."},
    {"mkdir", mkdir_main, "[-pv] [-m mode] folder..."},
    {"rmdir", rmdir_main, "[-p] folder..."},
    {"ln", ln_main, "[-fnsTv] [-t folder] target... name"},
    {"readlink", readlink_main, "[-fn] path..."},
    {"chmod", chmod_main, "[-R] mode path..."},
    {"chown", chown_main, "[-hR] user[:group] path..."},
    {"chgrp", chown_main, "[-hR] group path..."},
    {"touch", touch_main, "[-achm] [-d @seconds] [-r file] file..."},
    {"install", install_main, "[-cdDpv] [-m mode] [-o user] [-g group] [-t folder] from... to"},
    {"mktemp", mktemp_main, "[-dqu] [-p folder] [template]"},
    {"du", du_main, "[-achks] [path...]"},
    {"df", df_main, "[-hk] [path...]"},
    {"sync", sync_main, ""},
    {"mkfifo", mkfifo_main, "[-m mode] path..."},
    {0},
};

int main(int argc, char **argv) { return seed_run(applets, argc, argv); }
