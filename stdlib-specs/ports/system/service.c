/* services: keeps the services of a folder running. sv: asks about them and controls them.
 *
 * A service is a folder with a program `run`. A file `down` in it means that it is not to be started. What
 * runs is written to /run/service: NAME holds the process and since when; a line written to the pipe
 * `control` ("up NAME", "down NAME", "restart NAME") changes it. */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct service {
    char *name;
    bool wanted, listed;
    pid_t pid;
    time_t since;
    struct service *next;
};

static struct service *all;
static const char *folder, *state = "/run/service";
static volatile sig_atomic_t ending;

static void on_term(int number) {
    (void)number;
    ending = 1;
}

static void on_child(int number) { (void)number; }

static struct service *find(const char *name) {
    for (struct service *service = all; service != NULL; service = service->next)
        if (strcmp(service->name, name) == 0)
            return service;
    return NULL;
}

static void note(const struct service *service) {
    char *path = path_join(state, service->name);
    char *fresh = xprintf("%s.new", path);
    FILE *file = fopen(fresh, "we");
    if (file != NULL) {
        if (service->pid > 0)
            fprintf(file, "up %d %lld\n", (int)service->pid, (long long)service->since);
        else
            fprintf(file, "%s\n", service->wanted ? "starting" : "down");
        fclose(file);
        rename(fresh, path);
    }
    free(fresh);
    free(path);
}

static void start(struct service *service) {
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setsid();
        char *home = xprintf("%s/%s", folder, service->name);
        if (chdir(home) != 0)
            die_errno("%s", home);
        execl("./run", "run", (char *)NULL);
        complain_errno("%s/run", home);
        _exit(127);
    }
    service->since = time(NULL);
    if (pid < 0)
        complain_errno("cannot start %s", service->name);
    else
        service->pid = pid;
    note(service);
}

/* Looks for services that came or went. */
static void look(void) {
    struct strings names = {0};
    if (!folder_read(folder, &names)) {
        complain_errno("%s", folder);
        return;
    }
    for (struct service *service = all; service != NULL; service = service->next)
        service->listed = false;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.at[i];
        char *run = xprintf("%s/%s/run", folder, name), *down = xprintf("%s/%s/down", folder, name);
        if (name[0] != '.' && access(run, X_OK) == 0) {
            struct service *service = find(name);
            if (service == NULL) {
                service = xcalloc(1, sizeof *service);
                service->name = xstrdup(name);
                service->wanted = access(down, F_OK) != 0;
                service->next = all;
                all = service;
                note(service);
            }
            service->listed = true;
        }
        free(run);
        free(down);
    }
    strings_free(&names);
    for (struct service *service = all; service != NULL; service = service->next)
        if (!service->listed && service->wanted) {
            service->wanted = false;
            if (service->pid > 0)
                kill(service->pid, SIGTERM);
        }
}

static void reap(void) {
    pid_t ended;
    int status;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
        for (struct service *service = all; service != NULL; service = service->next)
            if (service->pid == ended) {
                service->pid = 0;
                note(service);
            }
}

static void obey(char *line) {
    char *word = strsep(&line, " ");
    struct service *service = line != NULL ? find(line) : NULL;
    if (service == NULL) {
        complain("no such service: %s", line != NULL ? line : "");
        return;
    }
    if (strcmp(word, "down") == 0)
        service->wanted = false;
    else if (strcmp(word, "up") == 0 || strcmp(word, "restart") == 0)
        service->wanted = service->listed;
    else
        return;
    if (service->pid > 0 && strcmp(word, "up") != 0)
        kill(service->pid, SIGTERM);
    service->since = 0;
    if (service->pid == 0)
        note(service);
}

int services_main(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "r:")) != -1)
        switch (letter) {
        case 'r': state = optarg; break;
        default: usage();
        }
    if (argc - optind != 1)
        usage();
    folder = argv[optind];
    if (!make_folders(state, 0755))
        die_errno("%s", state);
    char *control = path_join(state, "control");
    unlink(control);
    if (mkfifo(control, 0600) != 0)
        die_errno("%s", control);
    /* Open for writing as well, so that it never comes to an end. */
    int pipe = open(control, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (pipe < 0)
        die_errno("%s", control);
    struct sigaction term = {.sa_handler = on_term}, child = {.sa_handler = on_child};
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGINT, &term, NULL);
    sigaction(SIGCHLD, &child, NULL);
    sigset_t blocked, open_mask;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &open_mask);

    char text[4096];
    size_t used = 0;
    while (!ending) {
        reap();
        look();
        time_t now = time(NULL);
        for (struct service *service = all; service != NULL; service = service->next)
            /* A service that ends at once is started again after a second, not sooner. */
            if (service->wanted && service->pid == 0 && now - service->since >= 1)
                start(service);
        struct pollfd wait = {.fd = pipe, .events = POLLIN};
        struct timespec second = {.tv_sec = 1};
        ppoll(&wait, 1, &second, &open_mask);
        ssize_t got = read(pipe, text + used, sizeof text - used - 1);
        if (got > 0)
            used += (size_t)got;
        text[used] = '\0';
        char *line = text, *end;
        while ((end = strchr(line, '\n')) != NULL) {
            *end = '\0';
            obey(line);
            line = end + 1;
        }
        used = strlen(line);
        if (used + 1 == sizeof text)
            used = 0; /* no line is that long */
        memmove(text, line, used);
    }
    for (int round = 0; round < 50; round++) {
        bool some = false;
        for (struct service *service = all; service != NULL; service = service->next) {
            service->wanted = false;
            if (service->pid > 0) {
                some = true;
                /* Five seconds to end by itself. */
                kill(service->pid, round == 0 ? SIGTERM : round == 49 ? SIGKILL : 0);
            }
        }
        if (!some)
            break;
        struct timespec tenth = {.tv_nsec = 100000000};
        nanosleep(&tenth, NULL);
        reap();
    }
    unlink(control);
    free(control);
    return 0;
}

static bool show(const char *name) {
    char *path = path_join(state, name), line[256];
    FILE *file = fopen(path, "re");
    bool known = file != NULL && fgets(line, sizeof line, file) != NULL;
    if (file != NULL)
        fclose(file);
    free(path);
    int pid;
    long long since;
    if (!known)
        complain("no such service: %s", name);
    else if (sscanf(line, "up %d %lld", &pid, &since) == 2)
        printf("%-16s up    process %d, %lld s\n", name, pid, (long long)time(NULL) - since);
    else
        printf("%-16s %s", name, line);
    return known;
}

int sv_main(int argc, char **argv) {
    int letter, status = 0;
    while ((letter = getopt(argc, argv, "r:")) != -1)
        switch (letter) {
        case 'r': state = optarg; break;
        default: usage();
        }
    const char *word = optind < argc ? argv[optind++] : "status";
    if (strcmp(word, "status") == 0) {
        struct strings names = {0};
        if (optind == argc && !folder_read(state, &names))
            die("no services run: %s: %s", state, strerror(errno));
        for (size_t i = 0; i < names.count; i++)
            if (strcmp(names.at[i], "control") != 0 && strchr(names.at[i], '.') == NULL && !show(names.at[i]))
                status = 1;
        strings_free(&names);
        for (; optind < argc; optind++)
            if (!show(argv[optind]))
                status = 1;
        return status;
    }
    if ((strcmp(word, "up") != 0 && strcmp(word, "down") != 0 && strcmp(word, "restart") != 0) || optind == argc)
        usage();
    char *control = path_join(state, "control");
    int pipe = open(control, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (pipe < 0)
        die("no services run: %s: %s", control, strerror(errno));
    for (; optind < argc; optind++) {
        char *path = path_join(state, argv[optind]);
        char *line = xprintf("%s %s\n", word, argv[optind]);
        if (strchr(argv[optind], '/') != NULL || access(path, F_OK) != 0) {
            complain("no such service: %s", argv[optind]);
            status = 1;
        } else if (!write_all(pipe, line, strlen(line))) {
            complain_errno("%s", control);
            status = 1;
        }
        free(line);
        free(path);
    }
    close(pipe);
    free(control);
    return status;
}
