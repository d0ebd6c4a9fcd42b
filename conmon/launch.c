#include "conmon/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conmon/command.h"
#include "conmon/protocol.h"
#include "conmon/report.h"
#include "conmon/shim.h"
#include "conmon/text.h"

#define OOM_SCORE "-999"

static void wake_up(int unused)
{
}

void launch_prepare(void)
{
        static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
        struct sigaction wake = {.sa_handler = wake_up, .sa_flags = SA_NOCLDSTOP};
        sigset_t child;

        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigprocmask(SIG_SETMASK, &child, NULL);
        sigaction(SIGCHLD, &wake, NULL);
        for (unsigned i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
                signal(ignored[i], SIG_IGN);
        fcntl(MONITOR_REPORT_FD, F_SETFD, FD_CLOEXEC);
        umask(0022); /* the runtime hands it on to the container */
}

/*
 * The kernel would kill us for the container's appetite; without the right to say otherwise, it
 * may. Not inherited by the runtime, which is started by now.
 */
static void refuse_oom_kill(void)
{
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return;
        if (write(fd, OOM_SCORE, sizeof(OOM_SCORE) - 1) < 0)
                errno = 0;
        close(fd);
}

/* A terminal needs a socket for the runtime to hand it over, and its path in the command. */
static int prepare_console(const struct conmon_options *options, struct console *console)
{
        static char path[PATH_MAX];
        struct text text = text_in(path, sizeof(path));
        int result;

        text_add(&text, options->socket);
        text_add(&text, MONITOR_CONSOLE_SUFFIX);
        if (text.cut)
                return -ENAMETOOLONG;
        result = console_listen(console, path);
        if (result < 0)
                return result;
        for (char **argument = options->command; *argument; argument++) {
                if (strcmp(*argument, MONITOR_CONSOLE_SOCKET) == 0)
                        *argument = console->address.sun_path;
        }
        return 0;
}

/* Descriptors before and after the command's start; -1 where there is none. */
struct ends {
        int ours;
        int theirs;
};

static int make_pipe(struct ends *ends, bool we_read)
{
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        *ends = we_read ? (struct ends){fds[0], fds[1]} : (struct ends){fds[1], fds[0]};
        /* Non-blocking is a pipe's end's own matter: the container's end stays as programs expect
         * it. */
        return fcntl(ends->ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* With a terminal the one pipe for output and errors is for the runtime's own words. */
static int make_ends(const struct conmon_options *options, struct ends ends[3])
{
        int result;

        if (options->open_stdin && !options->terminal)
                result = make_pipe(&ends[PLACE_STDIN], false);
        else
                result = ends[PLACE_STDIN].theirs = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (result < 0)
                return result == -1 ? -errno : result;
        result = make_pipe(&ends[PLACE_STDERR], true);
        if (!result && !options->terminal)
                result = make_pipe(&ends[PLACE_STDOUT], true);
        return result;
}

static pid_t start_command(const struct conmon_options *options, struct output *output)
{
        struct ends ends[3] = {{-1, -1}, {-1, -1}, {-1, -1}};
        int result = make_ends(options, ends);
        pid_t pid;

        if (result < 0)
                return result; /* the program ends, and its descriptors with it */
        pid = command_start(options->command, ends[PLACE_STDIN].theirs,
                            ends[options->terminal ? PLACE_STDERR : PLACE_STDOUT].theirs,
                            ends[PLACE_STDERR].theirs);
        if (pid < 0)
                return pid;
        for (int place = PLACE_STDIN; place <= PLACE_STDERR; place++) {
                if (ends[place].theirs >= 0)
                        close(ends[place].theirs);
                if (ends[place].ours >= 0)
                        result = output_settle(ends[place].ours, (enum output_place)place);
                if (result < 0)
                        return result;
        }
        output->open[OUTPUT_STDOUT] = !options->terminal;
        output->open[OUTPUT_STDERR] = true;
        return pid;
}

static pid_t fail(int number, const char *step, const char *path)
{
        report_failed(number, step, path);
        return -1;
}

static int open_log(const struct conmon_options *options, struct output *output)
{
        const struct crilog_bounds bounds = {
                .size_max = options->log_size_max,
                .files_max = options->log_files_max,
                .line_max = options->log_line_max,
        };
        int result = journal_open(&output->journal, options->journal, options->id, options->name);

        if (!result)
                result = crilog_open(&output->log, options->log, &bounds);
        if (!result && options->journal)
                output->log.journal = &output->journal;
        return result;
}

static int prepare(const struct conmon_options *options, struct clients *clients,
                   struct output *output)
{
        int result = clients_listen(clients, options->socket);

        if (result < 0)
                return fail(result, "listen at", options->socket);
        result = open_log(options, output);
        return result < 0 ? fail(result, "open the log", options->log) : 0;
}

pid_t launch(const struct conmon_options *options, struct clients *clients, struct output *output,
             struct console *console)
{
        int result;
        pid_t pid;

        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return fail(errno, "become the container's subreaper", NULL);
        if (prepare(options, clients, output) < 0)
                return -1;
        if (options->terminal) {
                result = prepare_console(options, console);
                if (result < 0)
                        return fail(result, "listen for the terminal beside", options->socket);
        }
        if (unlink(options->pid_file) < 0 && errno != ENOENT)
                return fail(errno, "remove an old", options->pid_file);
        pid = start_command(options, output);
        if (pid < 0)
                return fail(pid, "start the runtime", options->command[0]);
        refuse_oom_kill();
        return pid;
}

/* ---- with a shim ---- */

/* flags as of open(2). A FIFO that is read is opened so whether or not a writer is there; one that
 * is written also for reading, so that the shim's end does not end before somebody attaches. */
static int make_fifo(const char *folder, enum output_place place, int flags)
{
        static const char *const names[] = {"/stdin", "/stdout", "/stderr"};
        static char path[PATH_MAX];
        struct text text = text_in(path, sizeof(path));
        int fd;

        text_add(&text, folder);
        text_add(&text, names[place]);
        if (text.cut)
                return -ENAMETOOLONG;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        if (mkfifo(path, 0600) < 0)
                return -errno;
        fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);
        return fd < 0 ? -errno : output_settle(fd, place);
}

static int make_fifos(const struct conmon_options *options, struct output *output)
{
        int result = make_fifo(options->fifos, PLACE_STDOUT, O_RDONLY);

        if (!result && !options->terminal)
                result = make_fifo(options->fifos, PLACE_STDERR, O_RDONLY);
        if (!result && options->open_stdin)
                result = make_fifo(options->fifos, PLACE_STDIN, O_RDWR);
        output->open[OUTPUT_STDOUT] = true;
        output->open[OUTPUT_STDERR] = !options->terminal;
        output->from_runtime = false;
        return result;
}

int launch_with_shim(const struct conmon_options *options, struct clients *clients,
                     struct output *output)
{
        int result, fd;

        if (prepare(options, clients, output) < 0)
                return -1;
        result = make_fifos(options, output);
        if (result < 0)
                return fail(result, "make pipes in", options->fifos);
        fd = shim_connect(options->shim);
        if (fd < 0)
                return fail(fd, "connect to the shim at", options->shim);
        result = shim_send_file(fd, options->shim_create, output->chunk, sizeof(output->chunk));
        if (result < 0)
                return fail(result, "send the shim", options->shim_create);
        refuse_oom_kill();
        return fd;
}
