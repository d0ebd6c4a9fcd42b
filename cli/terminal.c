#include "cli/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"

#define COLUMNS_DEFAULT 80
#define ROWS_DEFAULT    24

bool terminal_is(int fd)
{
        const char *kind = getenv("TERM");

        return isatty(fd) && (!kind || strcmp(kind, "dumb") != 0);
}

void terminal_size(int fd, size_t *columns, size_t *rows)
{
        struct winsize size = {0};

        if (ioctl(fd, TIOCGWINSZ, &size) < 0)
                size = (struct winsize){0};
        *columns = size.ws_col ? size.ws_col : COLUMNS_DEFAULT;
        *rows = size.ws_row ? size.ws_row : ROWS_DEFAULT;
}

/* ---- secrets ---- */

int terminal_read_secret(int fd, struct buffer *secret, struct error *err)
{
        char byte = '\0';

        for (;;) {
                ssize_t got = read(fd, &byte, 1);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return error_errno(err, errno, "read the password");
                if (got == 0 || byte == '\n')
                        return 0;
                if (secret->length == TERMINAL_SECRET_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "the password has more than %d bytes",
                                         TERMINAL_SECRET_MAX);
                /* All at once: a buffer that grows leaves copies behind. */
                if (secret->length == 0)
                        buffer_reserve(secret, TERMINAL_SECRET_MAX + 1);
                buffer_add(secret, &byte, 1);
        }
}

/* While nothing is echoed; for the signal handler. */
static int quiet_fd = -1;
static struct termios loud;

static void restore_and_end(int number)
{
        tcsetattr(quiet_fd, TCSAFLUSH, &loud);
        signal(number, SIG_DFL);
        raise(number);
}

int terminal_ask_secret(const char *prompt, struct buffer *secret, struct error *err)
{
        static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
        struct sigaction before[sizeof ends / sizeof *ends];
        struct sigaction act = {.sa_handler = restore_and_end, .sa_flags = (int)SA_RESETHAND};
        AUTO_FD int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

        if (fd < 0 || tcgetattr(fd, &loud) < 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "there is no terminal to ask for the password on: give it with "
                                 "--password-stdin or --authfile");
        quiet_fd = fd;
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
                sigaction(ends[i], &act, &before[i]);
        struct termios quiet = loud;
        quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
        quiet.c_lflag |= ICANON | ISIG | ECHONL;
        tcsetattr(fd, TCSAFLUSH, &quiet);
        dprintf(fd, "%s", prompt);
        int result = terminal_read_secret(fd, secret, err);
        tcsetattr(fd, TCSAFLUSH, &loud);
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
                sigaction(ends[i], &before[i], NULL);
        quiet_fd = -1;
        return result;
}
