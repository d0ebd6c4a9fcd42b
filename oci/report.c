#include "oci/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/task.h"

#define DEATH_WAIT                                                                                 \
        (2 * NSEC_PER_SEC) /* ns for a killed program to be gone; longer only where a disk hangs   \
                            */

/* A program that runs on; whoever started it has gone on as well. */
struct orphan {
        struct process process;
        struct watch *watch;
};

static void reap_orphan(void *argument, uint32_t events)
{
        struct orphan *orphan = argument;
        int status;

        if (process_collect(&orphan->process, &status) == -EAGAIN)
                return;
        watch_free(orphan->watch);
        close(orphan->process.pidfd);
        free(orphan);
}

static void leave_to_loop(const struct process *process)
{
        struct orphan *orphan = xcalloc(1, sizeof(*orphan));

        orphan->process = *process;
        orphan->watch = watch_new(process->pidfd, EPOLLIN, reap_orphan, orphan, NULL);
        if (!orphan->watch) {
                close(process->pidfd);
                free(orphan);
        }
}

/* Waits for the program's end, after killing it or not; returns its status, or -1 if it does not
 * come. */
static int end_process(struct process *process, bool kill)
{
        int status;

        if (kill)
                process_kill(process);
        if (task_wait_fd(process->pidfd, EPOLLIN, clock_after(DEATH_WAIT), NULL) == 0) {
                /* As long as it is not reaped the group's number is its own: what it may have left
                 * there goes too. */
                process_kill(process);
                if (process_reap(process, &status) == 0)
                        return status;
        }
        process_kill(process);
        leave_to_loop(process);
        return -1;
}

/* Reads until the report is whole. -ENODATA: the program closed it before. */
static int read_report(int fd, int64_t deadline, struct monitor_report *report)
{
        const size_t head = offsetof(struct monitor_report, text);
        size_t done = 0;

        for (;;) {
                ssize_t got;
                int result;

                if (done >= head && report->text_length > sizeof(report->text))
                        return -EPROTO;
                if (done >= head && done >= head + report->text_length)
                        return 0;
                result = task_wait_fd(fd, EPOLLIN, deadline, NULL);
                if (result < 0)
                        return result;
                got = read(fd, (char *)report + done, sizeof(*report) - done);
                if (got < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        return -ENODATA;
                done += (size_t)got;
        }
}

static void make_printable(struct monitor_report *report)
{
        size_t length = report->text_length;

        if (length == sizeof(report->text))
                length--;
        while (length && (unsigned char)report->text[length - 1] <= ' ')
                length--;
        report->text[length] = 0;
        report->text_length = (uint32_t)length;
        for (size_t i = 0; i < length; i++) {
                unsigned char byte = (unsigned char)report->text[i];

                if (byte < ' ' || byte == 0x7f)
                        report->text[i] = ' ';
        }
}

static int explain(const char *what, int result, int status, struct error *err)
{
        if (result == -ETIMEDOUT)
                return error_set(err, ERROR_DEADLINE_EXCEEDED, "%s: not done in time; killed",
                                 what);
        if (result == -ECANCELED)
                return error_set(err, ERROR_CANCELLED, "%s: given up; killed", what);
        if (result != -ENODATA)
                return error_errno(err, result, "%s: read its report", what);
        if (status >= 0 && WIFEXITED(status))
                return error_set(err, ERROR_INTERNAL, "%s: ended without a report, exit status %d",
                                 what, WEXITSTATUS(status));
        return error_set(err, ERROR_INTERNAL, "%s: ended without a report", what);
}

int report_start(const char *what, struct process_options *options, int64_t deadline,
                 struct monitor_report *report, pid_t *pid, struct error *err)
{
        AUTO_FD int read_end = -1;
        AUTO_FD int write_end = -1;
        struct process process;
        int ends[2], result, status;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return error_errno(err, errno, "%s: make a pipe", what);
        read_end = ends[0];
        write_end = ends[1];
        if (fcntl(read_end, F_SETFL, O_NONBLOCK) < 0)
                return error_errno(err, errno, "%s: make a pipe", what);
        options->extra_fds[0] = write_end;
        options->extra_fd_count = 1;
        options->new_session = true;
        result = process_start(options, &process, err);
        if (result < 0)
                return error_context(err, "%s", what);
        close(take_fd(&write_end));

        result = read_report(read_end, deadline, report);
        if (result == 0 && report->type == MONITOR_REPORT_OK) {
                *pid = process.pid;
                leave_to_loop(&process);
                make_printable(report);
                return 0;
        }
        /* A program that has said why it failed, or nothing, is about to end by itself and to clean
         * up. */
        status = end_process(&process, result < 0 && result != -ENODATA);
        if (result < 0)
                return explain(what, result, status, err);
        make_printable(report);
        return 0;
}
