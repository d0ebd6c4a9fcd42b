#include "conmon/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAT_MAX     1024 /* bytes; /proc/PID/stat has some 300 */
#define PID_FILE_MAX 32

static void become_command(char *const *command, int input, int output, int errors)
{
        char memory[512];
        struct text text = text_in(memory, sizeof(memory));
        char defaults[64] = {0}; /* the kernel's struct sigaction, all zeroes: SIG_DFL */
        sigset_t none;

        /*
         * Ignored signals and the mask outlive exec: the container would inherit them. libc's
         * signal() refuses those that libc uses itself, and they too may have come to us ignored.
         */
        for (int number = 1; number < NSIG; number++)
                syscall(SYS_rt_sigaction, number, defaults, NULL, (size_t)(NSIG - 1) / CHAR_BIT);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (dup2(input, 0) == 0 && dup2(output, 1) == 1 && dup2(errors, 2) == 2)
                execve(command[0], command, environ);
        text_add(&text, "exec ");
        text_add(&text, command[0]);
        text_add(&text, ": ");
        text_add(&text, strerrordesc_np(errno));
        text_add(&text, "\n");
        if (write(errors, memory, text.length) < 0)
                _exit(126);
        _exit(127);
}

pid_t command_start(char *const *command, int input, int output, int errors)
{
        pid_t pid = fork();

        if (pid == 0)
                become_command(command, input, output, errors);
        return pid < 0 ? -errno : pid;
}

/* Reads the file's beginning, or its end, as a string. Returns its length or a negative errno. */
static ssize_t read_some(const char *path, bool end, char *memory, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat status;
        off_t offset = 0;
        ssize_t got;

        if (fd < 0)
                return -errno;
        if (end && fstat(fd, &status) == 0 && status.st_size > (off_t)size - 1)
                offset = status.st_size - (off_t)size + 1;
        got = pread(fd, memory, size - 1, offset);
        if (got < 0)
                got = -errno;
        else
                memory[got] = 0;
        close(fd);
        return got;
}

pid_t command_read_pid(const char *path)
{
        char memory[PID_FILE_MAX];
        ssize_t length = read_some(path, false, memory, sizeof(memory));
        uint64_t pid;

        if (length < 0)
                return (pid_t)length;
        if (length && memory[length - 1] == '\n')
                memory[length - 1] = 0;
        if (!text_parse_number(memory, &pid) || pid == 0 || pid > INT32_MAX)
                return -EINVAL;
        return (pid_t)pid;
}

uint64_t command_start_time(pid_t pid)
{
        enum { START_TIME = 22, AFTER_COMMAND = 3 };
        char path[32], memory[STAT_MAX];
        struct text text = text_in(path, sizeof(path));
        uint64_t time;
        char *field, *end;

        text_add(&text, "/proc/");
        text_add_number(&text, pid);
        text_add(&text, "/stat");
        if (read_some(path, false, memory, sizeof(memory)) < 0)
                return 0;
        /* The second field, the command in parentheses, may hold anything: count from its end. */
        field = strrchr(memory, ')');
        for (int i = AFTER_COMMAND; field && i <= START_TIME; i++) {
                field = strchr(field, ' ');
                if (field)
                        field++;
        }
        end = field ? strchr(field, ' ') : NULL;
        if (!end)
                return 0;
        *end = 0;
        return text_parse_number(field, &time) ? time : 0;
}

/* The value of a string member in a line of JSON, with its quote before it skipped; null where it
 * is not there. */
static const char *find_member(const char *line, const char *key)
{
        size_t length = strlen(key);

        /* Inside a string every quote has a backslash before it, so this finds keys alone. */
        for (const char *at = line; (at = strstr(at, key)); at += length) {
                const char *value = at + length;

                if (at > line && at[-1] == '\\')
                        continue;
                while (*value == ' ')
                        value++;
                if (*value++ != ':')
                        continue;
                while (*value == ' ')
                        value++;
                if (*value == '"')
                        return value + 1;
        }
        return NULL;
}

static bool is_error(const char *level)
{
        return level && (strncmp(level, "error\"", 6) == 0 || strncmp(level, "fatal\"", 6) == 0 ||
                         strncmp(level, "panic\"", 6) == 0);
}

/* The byte that \u00XX names at its first digit, or -1. Go writes <, > and & so; other characters
 * stay as they are. */
static int ascii_escape(const char *at)
{
        static const char digits[] = "00112233445566778899aAbBcCdDeEfF";
        int value = 0;

        for (int i = 0; i < 4; i++) {
                const char *digit = at[i] ? strchr(digits, at[i]) : NULL;

                if (!digit)
                        return -1;
                value = value * 16 + (int)(digit - digits) / 2;
        }
        return value >= ' ' && value < 0x7f ? value : -1;
}

/* A string's contents up to its closing quote. */
static void add_unescaped(struct text *text, const char *at)
{
        static const char escapes[] = "\"\"//\\\\n\nt\t";

        for (; *at && *at != '"'; at++) {
                char byte = *at;

                if (byte == '\\' && at[1]) {
                        const char *pair = escapes;
                        int ascii = at[1] == 'u' ? ascii_escape(at + 2) : -1;

                        for (; *pair && *pair != at[1]; pair += 2)
                                ;
                        if (*pair) {
                                byte = pair[1];
                                at++;
                        } else if (ascii >= 0) {
                                byte = (char)ascii;
                                at += 5;
                        }
                }
                text_add_bytes(text, &byte, 1);
        }
}

void command_explain(const char *log, char *memory, size_t size, struct text *text)
{
        const char *found = NULL;
        char *next;

        if (!log || read_some(log, true, memory, size) < 0)
                return;
        for (char *line = memory; line; line = next) {
                const char *message;

                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                message = find_member(line, "\"msg\"");
                if (message && is_error(find_member(line, "\"level\"")))
                        found = message;
        }
        if (found)
                add_unescaped(text, found);
}
