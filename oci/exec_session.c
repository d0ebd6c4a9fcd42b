#include "oci/exec_session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "oci/exec_private.h"
#include "oci/runtime_private.h"
#include "oci/terminal.h"

#define RESIZE_TIME (10 * NSEC_PER_SEC)

struct exec_session {
        struct exec_options options; /* with copies of what outlives the start */
        struct exec_run run;
        struct process process;
        int terminal; /* to size it, or -1 */
};

/* Both ends of the three pipes, or of none. */
struct pipes {
        int ours[3], theirs[3];
};

static void close_all(int *fds, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (fds[i] >= 0)
                        close(take_fd(&fds[i]));
}

static void pipes_fini(struct pipes *pipes)
{
        close_all(pipes->ours, 3);
        close_all(pipes->theirs, 3);
}

static int pipes_make(struct pipes *pipes, struct error *err)
{
        for (int i = 0; i < 3; i++) {
                int ends[2];
                if (pipe2(ends, O_CLOEXEC) < 0)
                        return error_errno(err, errno, "make a pipe");
                pipes->ours[i] = ends[i == 0 ? 1 : 0];
                pipes->theirs[i] = ends[i == 0 ? 0 : 1];
                fcntl(pipes->ours[i], F_SETFL, O_NONBLOCK);
        }
        return 0;
}

/*
 * crisp-exec writes a byte when the runtime has started the command; where it could not, the pipe
 * just ends. With a terminal the runtime hands that over before.
 */
static int wait_for_start(struct exec_session *session, struct terminal *terminal, int report,
                          struct error *err)
{
        char byte;
        int result = task_wait_fd(report, EPOLLIN, session->options.deadline, NULL);
        if (result < 0)
                return error_errno(err, result, "wait for the command's start");
        if (read(report, &byte, 1) != 1)
                return -ECHILD; /* why, the runtime's log knows */
        if (!session->options.terminal)
                return 0;
        return terminal_receive(terminal, session->options.deadline, &session->terminal, err);
}

static int start_process(struct exec_session *session, const struct pipes *pipes,
                         struct terminal *terminal, struct error *err)
{
        const char *tasks[] = {session->run.child.cpuset_tasks, NULL};
        struct process_options start = PROCESS_OPTIONS_INIT;
        int report[2];
        if (pipe2(report, O_CLOEXEC) < 0)
                return error_errno(err, errno, "make a pipe");
        AUTO_FD int ours = report[0];
        AUTO_FD int theirs = report[1];
        char **argv = exec_run_argv(&session->run);
        start.path = argv[0];
        start.argv = argv;
        start.environment = runtime_environment();
        start.stdin_fd = pipes->theirs[0];
        start.stdout_fd = pipes->theirs[1];
        start.stderr_fd = pipes->theirs[2];
        start.extra_fds[0] = theirs;
        start.extra_fd_count = 1;
        if (session->run.child.cpuset_tasks)
                start.cgroup_v1_tasks = tasks;
        int result = process_start(&start, &session->process, err);
        strv_free(argv);
        if (result < 0)
                return result;
        close(take_fd(&theirs));
        return wait_for_start(session, terminal, ours, err);
}

/* Kills what is left of a start that failed, and says why it did. */
static int fail_start(struct exec_session *session, int result, struct error *err)
{
        int status = 0;
        struct exec_run *run = &session->run;
        const struct buffer nothing = BUFFER_INIT;
        struct error after = {0};
        bool interruptible = task_set_interruptible(false);
        if (session->process.pid) {
                if (result != -ECHILD) {
                        exec_run_kill(run);
                        process_kill(&session->process);
                }
                task_wait_fd(session->process.pidfd, EPOLLIN, clock_after(EXEC_KILL_TIME), NULL);
                if (process_reap(&session->process, &status) < 0)
                        process_abandon(&session->process);
        }
        run->err = &after;
        run->errors = &nothing;
        run->kill = true;
        task_offload(exec_run_finish, run);
        task_set_interruptible(interruptible);
        if (result == -ECHILD)
                return runtime_fail(session->options.handler, "exec",
                                    run->message ? run->message : "it says nothing", err);
        return result;
}

static struct exec_session *session_new(const struct exec_options *options, struct error *err)
{
        struct exec_session *session = xcalloc(1, sizeof *session);
        session->options = *options;
        session->options.cgroup_path = xstrdup(options->cgroup_path);
        session->terminal = -1;
        exec_run_init(&session->run, &session->options, err);
        return session;
}

static int run_start(struct exec_session *session, struct pipes *pipes, struct terminal *terminal,
                     struct error *err)
{
        int result = 0;
        if (session->options.terminal) {
                AUTO_FREE char *name = xprintf("%s.sock", session->run.name);
                result = terminal_listen(terminal, session->options.run_dir, name, err);
                if (result == 0)
                        session->run.console = xstrdup(terminal->path);
        } else {
                result = pipes_make(pipes, err);
        }
        if (result == 0)
                result = task_offload(exec_run_prepare, &session->run);
        if (result < 0)
                return result;
        result = start_process(session, pipes, terminal, err);
        return result < 0 ? fail_start(session, result, err) : 0;
}

static int give_ends(struct exec_session *session, struct pipes *pipes, struct exec_ends *ends,
                     struct error *err)
{
        *ends = (struct exec_ends){-1, -1, -1};
        if (!session->options.terminal) {
                *ends = (struct exec_ends){take_fd(&pipes->ours[0]), take_fd(&pipes->ours[1]),
                                           take_fd(&pipes->ours[2])};
                return 0;
        }
        AUTO_FD int input = fcntl(session->terminal, F_DUPFD_CLOEXEC, 0);
        AUTO_FD int output = fcntl(session->terminal, F_DUPFD_CLOEXEC, 0);
        if (input < 0 || output < 0)
                return error_errno(err, errno, "duplicate the terminal");
        ends->input = take_fd(&input);
        ends->output = take_fd(&output);
        return 0;
}

int exec_session_start(const struct exec_options *options, struct exec_session **result,
                       struct exec_ends *ends, struct error *err)
{
        struct pipes pipes = {{-1, -1, -1}, {-1, -1, -1}};
        struct terminal terminal = TERMINAL_NONE;
        int status = runtime_check(options->handler, err);
        if (status < 0)
                return status;
        struct exec_session *session = session_new(options, err);
        status = run_start(session, &pipes, &terminal, err);
        if (status == 0) {
                status = give_ends(session, &pipes, ends, err);
                if (status < 0)
                        status = fail_start(session, status, err);
        }
        pipes_fini(&pipes);
        terminal_fini(&terminal);
        if (status < 0)
                exec_session_free(session);
        else
                *result = session;
        return status;
}

int exec_session_wait(struct exec_session *session, int *exit_code, struct error *err)
{
        struct exec_run *run = &session->run;
        const struct buffer nothing = BUFFER_INIT;
        int status = 0;
        int result = task_wait_fd(session->process.pidfd, EPOLLIN, CLOCK_NEVER, NULL);
        bool interruptible = task_set_interruptible(false);
        run->kill = result < 0;
        if (run->kill) {
                exec_run_kill(run);
                if (task_wait_fd(session->process.pidfd, EPOLLIN, clock_after(EXEC_KILL_TIME),
                                 NULL) < 0)
                        process_kill(&session->process);
        }
        if (process_reap(&session->process, &status) < 0)
                process_abandon(&session->process);
        session->process.pid = 0;
        run->err = err;
        run->errors = &nothing;
        int left = task_offload(exec_run_finish, run);
        task_set_interruptible(interruptible);
        if (result < 0)
                return error_errno(err, result, "command \"%.100s\" was killed", run->name);
        if (left < 0)
                return left;
        *exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        return 0;
}

void exec_session_resize(struct exec_session *session, uint16_t rows, uint16_t columns)
{
        const struct runtime_operations *operations = session->options.handler->operations;
        if (session->terminal >= 0 && operations)
                operations->exec_resize(session->options.handler, session->run.id,
                                        session->run.name, rows, columns, clock_after(RESIZE_TIME));
        else if (session->terminal >= 0)
                terminal_resize(session->terminal, rows, columns);
}

void exec_session_free(struct exec_session *session)
{
        if (!session)
                return;
        cleanup_fd(&session->terminal);
        exec_run_fini(&session->run);
        free((char *)session->options.cgroup_path);
        free(session);
}
