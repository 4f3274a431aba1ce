/* page: shows text a screen at a time. Blank or f: on, b: back, j and k: a line, g and G: start and end,
   /text: search, n: again, q: end. */
#include <seed.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct strings lines;
static struct termios before;
static int terminal = -1;
static size_t top, height = 24, width = 80;

static void restore(void) {
    if (terminal >= 0)
        tcsetattr(terminal, TCSANOW, &before);
}

static void on_signal(int number) {
    restore();
    _exit(128 + number);
}

static void read_lines(FILE *file) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, file)) > 0) {
        if (line[length - 1] == '\n')
            line[--length] = '\0';
        strings_add(&lines, xstrdup(line));
    }
    free(line);
}

/* The bytes of a line that fit on the screen; what a terminal would obey is shown as a question mark. */
static void print_line(const char *line) {
    size_t column = 0;
    for (; *line != '\0' && column < width; line++) {
        unsigned char byte = (unsigned char)*line;
        if (byte == '\t') {
            do
                putchar(' ');
            while (++column % 8 != 0 && column < width);
            continue;
        }
        putchar(byte < ' ' || byte == 127 ? '?' : byte);
        if ((byte & 0xc0) != 0x80)
            column++;
    }
    fputs("\033[K\r\n", stdout);
}

static void show(const char *message) {
    struct winsize window;
    if (ioctl(terminal, TIOCGWINSZ, &window) == 0 && window.ws_row > 1) {
        height = window.ws_row;
        width = window.ws_col;
    }
    size_t last = lines.count > height - 1 ? lines.count - (height - 1) : 0;
    if (top > last)
        top = last;
    fputs("\033[H", stdout);
    for (size_t i = 0; i + 1 < height; i++)
        print_line(top + i < lines.count ? lines.at[top + i] : "~");
    size_t end = top + height - 1 < lines.count ? top + height - 1 : lines.count;
    if (message != NULL)
        printf("\033[7m%s\033[0m\033[K", message);
    else
        printf("\033[7m%zu-%zu of %zu%s\033[0m\033[K", top + 1, end, lines.count, end == lines.count ? " (end)" : "");
    fflush(stdout);
}

static int key(void) {
    unsigned char byte;
    return read(terminal, &byte, 1) == 1 ? byte : 'q';
}

static bool search(const char *text) {
    for (size_t i = 1; i <= lines.count; i++) {
        size_t at = (top + i) % lines.count;
        if (strstr(lines.at[at], text) != NULL) {
            top = at;
            return true;
        }
    }
    return false;
}

static int page(int argc, char **argv) {
    int status = 0;
    if (getopt(argc, argv, "") != -1)
        usage();
    if (optind == argc) {
        if (isatty(0))
            usage();
        read_lines(stdin);
    }
    for (; optind < argc; optind++) {
        FILE *file = fopen(argv[optind], "re");
        if (file == NULL) {
            complain_errno("%s", argv[optind]);
            status = 1;
            continue;
        }
        read_lines(file);
        fclose(file);
    }
    terminal = isatty(1) ? open("/dev/tty", O_RDWR | O_CLOEXEC) : -1;
    if (terminal < 0 || tcgetattr(terminal, &before) != 0) {
        /* Nobody watches. */
        for (size_t i = 0; i < lines.count; i++)
            puts(lines.at[i]);
        return status;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(terminal, TCSANOW, &raw);
    char text[256] = "";
    const char *message = NULL;
    for (;;) {
        show(message);
        message = NULL;
        int pressed = key();
        size_t screen = height - 1;
        if (pressed == 'q')
            break;
        if (pressed == ' ' || pressed == 'f')
            top += screen;
        else if (pressed == 'b')
            top = top > screen ? top - screen : 0;
        else if (pressed == 'j' || pressed == '\n' || pressed == '\r')
            top++;
        else if (pressed == 'k')
            top = top > 0 ? top - 1 : 0;
        else if (pressed == 'g')
            top = 0;
        else if (pressed == 'G')
            top = lines.count;
        else if (pressed == '/') {
            size_t used = 0;
            text[0] = '\0';
            for (;;) {
                char prompt[300];
                snprintf(prompt, sizeof prompt, "/%s", text);
                show(prompt);
                pressed = key();
                if (pressed == '\n' || pressed == '\r')
                    break;
                if ((pressed == 127 || pressed == 8) && used > 0)
                    text[--used] = '\0';
                else if (pressed >= ' ' && pressed != 127 && used + 1 < sizeof text) {
                    text[used++] = (char)pressed;
                    text[used] = '\0';
                }
            }
            if (text[0] != '\0' && lines.count > 0 && !search(text))
                message = "not found";
        } else if (pressed == 'n' && text[0] != '\0' && lines.count > 0) {
            if (!search(text))
                message = "not found";
        }
    }
    restore();
    putchar('\n');
    return status;
}

int main(int argc, char **argv) {
    static const struct applet applets[] = {{"page", page, "[file...]"}, {0}};
    return seed_run(applets, argc, argv);
}
