#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/task.h"

#define EXEC_DEADLINE (30 * NSEC_PER_SEC) /* an exec on a hung file system ends here */
#define STAT_SIZE     1024                /* /proc/PID/stat is some 300 bytes */

/* What the child tells through the close-on-exec pipe when it cannot go on. */
enum step { STEP_GROUP, STEP_CGROUP, STEP_NAMESPACE, STEP_DESCRIPTORS, STEP_DIRECTORY, STEP_EXEC };

static const char *const step_names[] = {
        [STEP_GROUP] = "set process group",           [STEP_CGROUP] = "join cgroup",
        [STEP_NAMESPACE] = "enter network namespace", [STEP_DESCRIPTORS] = "pass descriptors",
        [STEP_DIRECTORY] = "change folder",           [STEP_EXEC] = "exec",
};

struct failure {
        int step, number;
};

static struct rlimit childrens_files; /* rlim_max is 0 where they simply inherit it */

/* ---- the child, between clone and exec: system calls alone, since other threads' locks stay as
 * they were ---- */

static void __attribute__((noreturn)) child_fail(int report_fd, enum step step)
{
        struct failure failure = {step, errno};
        syscall(SYS_write, report_fd, &failure, sizeof failure);
        for (;;)
                syscall(SYS_exit_group, 127);
}

static void child_reset_signals(void)
{
        /* The kernel's struct sigaction, all zeroes: SIG_DFL. */
        char zeroes[64] = {0};
        for (int signal = 1; signal <= 64; signal++)
                syscall(SYS_rt_sigaction, signal, zeroes, NULL, (size_t)8);
        uint64_t none = 0;
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

static bool child_join_cgroups(const char *const *tasks)
{
        for (; tasks && *tasks; tasks++) {
                int fd = (int)syscall(SYS_openat, AT_FDCWD, *tasks, O_WRONLY | O_CLOEXEC);
                if (fd < 0 || syscall(SYS_write, fd, "0", (size_t)1) != 1)
                        return false;
                syscall(SYS_close, fd);
        }
        return true;
}

/* Puts the given descriptors at 0, 1, 2, ... and *report_fd out of their way. */
static bool child_place_fds(const struct process_options *options, int *report_fd)
{
        int wanted[3 + PROCESS_EXTRA_FDS_MAX];
        int count = 3 + (int)options->extra_fd_count;
        wanted[0] = options->stdin_fd;
        wanted[1] = options->stdout_fd;
        wanted[2] = options->stderr_fd;
        for (int i = 3; i < count; i++)
                wanted[i] = options->extra_fds[i - 3];
        /* First all out of the way of each other's places, then down. */
        *report_fd = (int)syscall(SYS_fcntl, *report_fd, F_DUPFD_CLOEXEC, count);
        if (*report_fd < 0)
                return false;
        int null_fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
        for (int i = 0; i < count; i++) {
                int fd = wanted[i] >= 0 ? wanted[i] : null_fd;
                wanted[i] = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, count);
                if (wanted[i] < 0)
                        return false;
        }
        for (int i = 0; i < count; i++)
                if (syscall(SYS_dup3, wanted[i], i, 0) < 0)
                        return false;
        syscall(SYS_close_range, (unsigned)count, ~0U, CLOSE_RANGE_CLOEXEC);
        return childrens_files.rlim_max == 0 ||
               syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &childrens_files, NULL) == 0;
}

static void __attribute__((noreturn))
child_main(const struct process_options *options, int report_fd)
{
        static char *const nothing[] = {NULL};
        if (options->new_session ? syscall(SYS_setsid) < 0 : syscall(SYS_setpgid, 0, 0) < 0)
                child_fail(report_fd, STEP_GROUP);
        if (!child_join_cgroups(options->cgroup_v1_tasks))
                child_fail(report_fd, STEP_CGROUP);
        /* What is nowhere in its cgroup is refused as a whole; then it runs where it may. */
        if (options->processors)
                syscall(SYS_sched_setaffinity, 0, options->processors_size, options->processors);
        if (options->network_namespace_fd >= 0 &&
            syscall(SYS_setns, options->network_namespace_fd, CLONE_NEWNET) < 0)
                child_fail(report_fd, STEP_NAMESPACE);
        child_reset_signals();
        if (!child_place_fds(options, &report_fd))
                child_fail(report_fd, STEP_DESCRIPTORS);
        if (syscall(SYS_chdir, options->directory ? options->directory : "/") < 0)
                child_fail(report_fd, STEP_DIRECTORY);
        syscall(SYS_execve, options->path, options->argv,
                options->environment ? options->environment : nothing);
        child_fail(report_fd, STEP_EXEC);
}

/* ---- starting ---- */

void process_raise_open_files(void)
{
        struct rlimit before, most;
        if (getrlimit(RLIMIT_NOFILE, &before) < 0 || before.rlim_cur == before.rlim_max)
                return;
        most = (struct rlimit){before.rlim_max, before.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &most) == 0)
                childrens_files = before;
}

static pid_t clone_with(const struct process_options *options, int namespaces, int *pidfd)
{
        struct clone_args arguments = {
                .flags = CLONE_PIDFD | (uint64_t)(unsigned)namespaces,
                .pidfd = (uint64_t)(uintptr_t)pidfd,
                .exit_signal = SIGCHLD,
        };
        if (options->cgroup_fd >= 0) {
                arguments.flags |= CLONE_INTO_CGROUP;
                arguments.cgroup = (uint64_t)options->cgroup_fd;
        }
        return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

static pid_t clone_child(const struct process_options *options, int *pidfd)
{
        static atomic_flag said = ATOMIC_FLAG_INIT;

        pid_t pid = clone_with(options, options->namespaces, pidfd);
        if (pid >= 0 || options->namespaces == 0)
                return pid;
        /* No privilege (in a container), none of that kind built in, or as many as are allowed. */
        int number = errno;
        pid = clone_with(options, 0, pidfd);
        if (pid > 0 && !atomic_flag_test_and_set(&said))
                log_warning("namespaces are refused: programs that should have their own run "
                            "without",
                            "program", options->path, "error", strerror(number), NULL);
        return pid;
}

/* Waits for the report pipe: 0 when there is something to read or its end. */
static int wait_for_report(int fd, int64_t deadline)
{
        if (task_self())
                return task_wait_fd(fd, EPOLLIN, deadline, NULL);
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        for (;;) {
                int count = poll(&poll_fd, 1, clock_poll_timeout(deadline));
                if (count > 0)
                        return 0;
                if (count == 0)
                        return -ETIMEDOUT;
                if (errno != EINTR)
                        return -errno;
        }
}

/* Reaps a child that nobody waits for any more, whenever it ends. */
struct abandoned {
        struct process process;
        struct watch *watch;
};

static void reap_abandoned(void *argument, uint32_t events)
{
        (void)events;
        struct abandoned *abandoned = argument;
        int status;
        if (process_collect(&abandoned->process, &status) == -EAGAIN)
                return;
        watch_free(abandoned->watch);
        close(abandoned->process.pidfd);
        free(abandoned);
}

void process_abandon(struct process *process)
{
        process_kill(process);
        if (!task_self()) {
                int status;
                waitpid(process->pid, &status, 0);
                close(take_fd(&process->pidfd));
                return;
        }
        struct abandoned *abandoned = calloc(1, sizeof *abandoned);
        if (!abandoned)
                abort();
        abandoned->process = *process;
        abandoned->watch = watch_new(process->pidfd, EPOLLIN, reap_abandoned, abandoned, NULL);
        if (!abandoned->watch) {
                close(process->pidfd);
                free(abandoned);
        }
        process->pidfd = -1;
}

int process_start(const struct process_options *options, struct process *process, struct error *err)
{
        int report[2];
        if (pipe2(report, O_CLOEXEC) < 0)
                return error_errno(err, errno, "start %s: pipe", options->path);
        AUTO_FD int report_in = report[0];
        AUTO_FD int report_out = report[1];
        struct process child = {.pidfd = -1};
        child.pid = clone_child(options, &child.pidfd);
        if (child.pid < 0)
                return error_errno(err, errno, "start %s: clone3%s", options->path,
                                   options->cgroup_fd >= 0 ? " into its cgroup" : "");
        if (child.pid == 0)
                child_main(options, report_out);
        close(take_fd(&report_out));

        struct failure failure;
        ssize_t count = 0;
        bool interruptible = task_self() ? task_set_interruptible(false) : false;
        int result = wait_for_report(report_in, clock_after(EXEC_DEADLINE));
        if (task_self())
                task_set_interruptible(interruptible);
        if (result == 0)
                count = read(report_in, &failure, sizeof failure);
        if (result == 0 && count == 0) {
                *process = child;
                return 0;
        }
        process_abandon(&child);
        if (result < 0)
                return error_errno(err, result, "start %s: exec has not come back", options->path);
        if (count != sizeof failure)
                return error_errno(err, EIO, "start %s: report", options->path);
        if (failure.step == STEP_EXEC)
                return error_errno(err, failure.number, "exec %s", options->path);
        return error_errno(err, failure.number, "start %s: %s", options->path,
                           step_names[failure.step]);
}

void process_kill(const struct process *process)
{
        if (process->pidfd < 0)
                return;
        /* The group outlives its leader's death, but its number is ours only while the leader is
         * not reaped. */
        kill(-process->pid, SIGKILL);
        syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0);
}

int process_collect(const struct process *process, int *status)
{
        int value;
        pid_t pid = waitpid(process->pid, &value, WNOHANG);
        if (pid == 0)
                return -EAGAIN;
        if (pid < 0)
                return -errno;
        *status = value;
        return 0;
}

int process_reap(struct process *process, int *status)
{
        int result = process_collect(process, status);
        if (result == 0 && process->pidfd >= 0)
                close(take_fd(&process->pidfd));
        return result;
}

uint64_t process_start_time(pid_t pid)
{
        char path[32], text[STAT_SIZE];
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return 0;
        ssize_t length = read(fd, text, sizeof text - 1);
        if (length <= 0)
                return 0;
        text[length] = '\0';
        /* The command's name, in parentheses, may hold anything: fields count from behind the last
         * one. */
        char *field = strrchr(text, ')');
        for (int i = 2; field && i < 22; i++)
                field = strchr(field + 1, ' ');
        return field ? strtoull(field, NULL, 10) : 0;
}

int process_open(pid_t pid, uint64_t start_time)
{
        AUTO_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd < 0)
                return -errno;
        if (process_start_time(pid) != start_time)
                return -ESRCH;
        return take_fd(&fd);
}
