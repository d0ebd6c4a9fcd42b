/* Runs of a child from start to end: its pipes, bounds and deadline. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/process.h"
#include "base/task.h"

#define READ_SIZE     (64 * 1024)
#define ON_KILL_GRACE (200 * NSEC_PER_MSEC) /* for a child that on_kill has left nothing to do */
#define KILL_DEADLINE                                                                              \
        (5 * NSEC_PER_SEC) /* a child in an uninterruptible sleep is left behind after this */

/* One pipe to or from the child. */
struct channel {
        struct runner *runner;
        int fd;
        struct watch *watch;
        struct buffer *kept; /* null for stdin */
        size_t max;
        bool *cut;
};

struct runner {
        struct process_run *run;
        struct process process;
        struct watch *ended_watch;
        struct channel input, output, errors;
        size_t written;
        bool ended;
        struct event changed;
};

static void channel_close(struct channel *channel)
{
        watch_free(channel->watch);
        channel->watch = NULL;
        if (channel->fd >= 0)
                close(take_fd(&channel->fd));
}

static void on_writable(void *argument, uint32_t events)
{
        struct channel *channel = argument;
        struct runner *runner = channel->runner;
        struct process_run *run = runner->run;
        ssize_t count = write(channel->fd, run->input + runner->written,
                              run->input_length - runner->written);
        if (count > 0)
                runner->written += (size_t)count;
        /* A child that does not want its input is no error. */
        if ((count < 0 && errno != EAGAIN && errno != EINTR) ||
            runner->written == run->input_length)
                channel_close(channel);
        (void)events;
}

static void on_readable(void *argument, uint32_t events)
{
        struct channel *channel = argument;
        char bytes[READ_SIZE];
        (void)events;
        ssize_t count = read(channel->fd, bytes, sizeof bytes);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (count <= 0) {
                channel_close(channel);
                event_signal(&channel->runner->changed);
                return;
        }
        size_t room = channel->max - channel->kept->length;
        size_t keep = (size_t)count < room ? (size_t)count : room;
        if (keep)
                buffer_add(channel->kept, bytes, keep);
        if (keep < (size_t)count)
                *channel->cut = true;
}

static void on_ended(void *argument, uint32_t events)
{
        struct runner *runner = argument;
        (void)events;
        int status;
        if (process_collect(&runner->process, &status) == -EAGAIN)
                return;
        watch_free(take_ptr(runner->ended_watch));
        close(take_fd(&runner->process.pidfd));
        runner->run->status = status;
        runner->ended = true;
        event_signal(&runner->changed);
}

/* Makes a pipe: our end non-blocking in channel, the child's in *theirs. */
static int channel_open(struct channel *channel, bool to_child, int *theirs)
{
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        int ours = to_child ? 1 : 0;
        channel->fd = ends[ours];
        *theirs = ends[1 - ours];
        fcntl(channel->fd, F_SETFL, O_NONBLOCK);
        return 0;
}

static void runner_fini(struct runner *runner)
{
        channel_close(&runner->input);
        channel_close(&runner->output);
        channel_close(&runner->errors);
        watch_free(runner->ended_watch);
        runner->ended_watch = NULL;
}

static int runner_start(struct runner *runner, const struct process_options *options,
                        struct error *err)
{
        struct process_run *run = runner->run;
        struct process_options own = *options;
        AUTO_FD int in = -1;
        AUTO_FD int out = -1;
        AUTO_FD int errors = -1;
        if ((run->input_length && channel_open(&runner->input, true, &in) < 0) ||
            channel_open(&runner->output, false, &out) < 0 ||
            channel_open(&runner->errors, false, &errors) < 0)
                return error_errno(err, errno, "start %s: pipe", options->path);
        own.stdin_fd = in;
        own.stdout_fd = out;
        own.stderr_fd = errors;
        int result = process_start(&own, &runner->process, err);
        if (result < 0)
                return result;
        struct error watch_error;
        if (runner->input.fd >= 0)
                runner->input.watch = watch_new(runner->input.fd, EPOLLOUT, on_writable,
                                                &runner->input, &watch_error);
        runner->output.watch =
                watch_new(runner->output.fd, EPOLLIN, on_readable, &runner->output, &watch_error);
        runner->errors.watch =
                watch_new(runner->errors.fd, EPOLLIN, on_readable, &runner->errors, &watch_error);
        runner->ended_watch =
                watch_new(runner->process.pidfd, EPOLLIN, on_ended, runner, &watch_error);
        if ((runner->input.fd >= 0 && !runner->input.watch) || !runner->output.watch ||
            !runner->errors.watch || !runner->ended_watch) {
                process_abandon(&runner->process);
                if (err)
                        *err = watch_error;
                return error_context(err, "run %s", options->path);
        }
        return 0;
}

static bool runner_done(const struct runner *runner)
{
        return runner->ended && runner->output.fd < 0 && runner->errors.fd < 0;
}

static int runner_wait(struct runner *runner)
{
        struct process_run *run = runner->run;
        int64_t linger = run->linger ? run->linger : PROCESS_LINGER;
        int64_t pipes_deadline = CLOCK_NEVER;
        while (!runner_done(runner)) {
                if (runner->ended && pipes_deadline == CLOCK_NEVER)
                        pipes_deadline = clock_after(linger);
                int64_t deadline = pipes_deadline < run->deadline ? pipes_deadline : run->deadline;
                int result = task_wait(&runner->changed, deadline);
                if (result == 0 || runner_done(runner))
                        continue;
                /* The command itself has ended: what its pipes still have to say is cut off. */
                if (runner->ended)
                        return 0;
                return result;
        }
        return 0;
}

static void runner_kill(struct runner *runner)
{
        struct process_run *run = runner->run;
        if (run->on_kill) {
                run->on_kill(run->on_kill_argument);
                int64_t grace = clock_after(ON_KILL_GRACE);
                while (!runner->ended && task_wait(&runner->changed, grace) == 0)
                        ;
        }
        process_kill(&runner->process);
        int64_t deadline = clock_after(KILL_DEADLINE);
        while (!runner->ended && task_wait(&runner->changed, deadline) == 0)
                ;
        if (!runner->ended) {
                watch_free(runner->ended_watch);
                runner->ended_watch = NULL;
                process_abandon(&runner->process);
        }
}

int process_run(const struct process_options *options, struct process_run *run, struct error *err)
{
        struct runner runner = {.run = run, .process = {.pidfd = -1}};
        runner.input = (struct channel){.runner = &runner, .fd = -1};
        runner.output = (struct channel){.runner = &runner,
                                         .fd = -1,
                                         .kept = &run->output,
                                         .max = run->output_max,
                                         .cut = &run->output_cut};
        runner.errors = (struct channel){.runner = &runner,
                                         .fd = -1,
                                         .kept = &run->errors,
                                         .max = run->errors_max,
                                         .cut = &run->errors_cut};
        int result = runner_start(&runner, options, err);
        if (result < 0) {
                runner_fini(&runner);
                return result;
        }
        bool before = task_set_interruptible(run->interruptible);
        result = runner_wait(&runner);
        task_set_interruptible(false);
        if (result < 0) {
                runner_kill(&runner);
                error_set(err, result == -ETIMEDOUT ? ERROR_DEADLINE_EXCEEDED : ERROR_CANCELLED,
                          result == -ETIMEDOUT ? "%s: still running at its deadline, killed"
                                               : "%s: cancelled, killed",
                          options->path);
        }
        task_set_interruptible(before);
        runner_fini(&runner);
        return result;
}

void process_run_fini(struct process_run *run)
{
        buffer_fini(&run->output);
        buffer_fini(&run->errors);
}

int process_check(const struct process_run *run, const char *what, struct error *err)
{
        if (WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0)
                return 0;
        /* The last line that says something. */
        const char *text = run->errors.data ? run->errors.data : "";
        size_t end = run->errors.length;
        while (end > 0 && strchr("\r\n \t", text[end - 1]))
                end--;
        size_t start = end;
        while (start > 0 && text[start - 1] != '\n')
                start--;
        const char *separator = end > start ? ": " : "";
        int length = (int)(end - start);
        if (WIFSIGNALED(run->status))
                return error_set(err, ERROR_INTERNAL, "%s: killed by signal %d%s%.*s", what,
                                 WTERMSIG(run->status), separator, length, text + start);
        return error_set(err, ERROR_INTERNAL, "%s: exit status %d%s%.*s", what,
                         WEXITSTATUS(run->status), separator, length, text + start);
}
