/* shell: programs for shell scripts. */
#include "shell.h"

static const struct applet applets[] = {
    {"echo", echo_main, "[-neE] [word...]"},
    {"printf", printf_main, "format [argument...]"},
    {"test", test_main, "[expression]"},
    {"[", test_main, "[expression] ]"},
    {"env", env_main, "[-i] [-u name] [name=value...] [command [argument...]]"},
    {"printenv", printenv_main, "[name...]"},
    {"nohup", nohup_main, "command [argument...]"},
    {"id", id_main, "[-u | -g | -G] [-n] [user]"},
    {"whoami", whoami_main, ""},
    {"logname", whoami_main, ""},
    {"groups", groups_main, ""},
    {"date", date_main, "[-uR] [-I] [-d @seconds | -r file] [+format]"},
    {"uname", uname_main, "[-amnrsv]"},
    {"arch", uname_main, ""},
    {"hostname", hostname_main, "[name]"},
    {"nproc", nproc_main, ""},
    {"sleep", sleep_main, "time[smhd]..."},
    {"true", true_main, ""},
    {"false", false_main, ""},
    {"yes", yes_main, "[word...]"},
    {"seq", seq_main, "[-w] [-s text] [first [step]] last"},
    {"basename", basename_main, "path [suffix]"},
    {"dirname", dirname_main, "path..."},
    {"pwd", pwd_main, "[-LP]"},
    {"tty", tty_main, "[-s]"},
    {0},
};

int main(int argc, char **argv) { return seed_run(applets, argc, argv); }
