/* text: programs for lines of text. */
#include "text.h"

static const struct applet applets[] = {
    {"head", head_main, "[-n lines | -c bytes] [file...]"},
    {"tail", tail_main, "[-f] [-n [+]lines | -c [+]bytes] [file]"},
    {"wc", wc_main, "[-clmw] [file...]"},
    {"sort", sort_main, "[-bcfmnrsuz] [-k from[,to]] [-t character] [-o file] [file...]"},
    {"uniq", uniq_main, "[-cdu] [-f fields] [input [output]]"},
    {"comm", comm_main, "[-123] file1 file2"},
    {"grep", grep_main, "[-EFGHLchilnoqrsvwx] [-m count] [-e pattern] [-f file] [pattern] [file...]"},
    {"egrep", grep_main, "[options] pattern [file...]"},
    {"fgrep", grep_main, "[options] pattern [file...]"},
    {"cut", cut_main, "-b list | -c list | -f list [-d character] [-s] [file...]"},
    {"paste", paste_main, "[-s] [-d characters] [file...]"},
    {"tr", tr_main, "[-cds] set1 [set2]"},
    {"tee", tee_main, "[-ai] [file...]"},
    {"nl", nl_main, "[-b a|t|n] [file...]"},
    {"rev", rev_main, "[file...]"},
    {"cmp", cmp_main, "[-ls] file1 file2"},
    {"sha256sum", sha256sum_main, "[-c] [file...]"},
    {0},
};

int main(int argc, char **argv) { return seed_run(applets, argc, argv); }
