/*
 * process: every child that crisp starts.
 *
 * A child gets exactly the descriptors, environment and folder that it is given, default signals
 * and a process group of its own. Nothing else forks.
 */
#ifndef CRISP_BASE_PROCESS_H
#define CRISP_BASE_PROCESS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sched.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/error.h"

#define PROCESS_EXTRA_FDS_MAX 8

struct process_options {
        const char *path;         /* absolute path of the program */
        char *const *argv;        /* with argv[0], null-terminated */
        char *const *environment; /* null-terminated; null is an empty environment */
        const char *directory;    /* to change to, or null for / */
        int stdin_fd;             /* borrowed; -1 is /dev/null. So are the next two */
        int stdout_fd;
        int stderr_fd;
        int extra_fds[PROCESS_EXTRA_FDS_MAX]; /* become 3, 4, ... in the child; borrowed */
        unsigned extra_fd_count;
        int cgroup_fd; /* a cgroup v2 folder to start in, or -1 */
        const char *const
                *cgroup_v1_tasks; /* `tasks` files that the child writes itself into, or null */
        /* The processors that it, and what it starts, may run on; null is all of its cgroup's.
         * Those that its cgroup has not are passed over. */
        const cpu_set_t *processors;
        size_t processors_size;   /* bytes of it */
        bool new_session;         /* setsid instead of setpgid */
        int network_namespace_fd; /* to enter before the exec, or -1 */
        /*
         * CLONE_NEW... for namespaces to start in. With CLONE_NEWPID it is the first process of its
         * namespace: whatever it starts ends with it. Where the kernel refuses them, it is started
         * without any, and the log says so once.
         */
        int namespaces;
};

/* All descriptors -1, everything else empty. */
#define PROCESS_OPTIONS_INIT                                                                       \
        {                                                                                          \
                .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .cgroup_fd = -1,                 \
                .network_namespace_fd = -1,                                                        \
        }

struct process {
        pid_t pid; /* also its process group */
        int pidfd; /* close-on-exec, readable when it has ended; the owner closes it */
};

/*
 * Starts the child. What fails before or in its exec is told here, with the step ("exec
 * /usr/sbin/runc: No such file or directory"). Waits in a task until the exec is done; elsewhere
 * blocks. Any thread.
 */
int process_start(const struct process_options *options, struct process *process,
                  struct error *err);

/*
 * Raises the number of files that this process may have open as far as it may (RLIMIT_NOFILE).
 * Children keep the limit of before: there are programs that look through all the numbers below it,
 * and some cannot use high ones. Before the first thread.
 */
void process_raise_open_files(void);

/* Kills the process group with SIGKILL. Harmless when it has ended and was reaped by process_reap.
 */
void process_kill(const struct process *process);

/* Reaps an ended child without blocking: -EAGAIN while it runs; else 0 and *status as of
 * waitpid(2); closes pidfd. */
int process_reap(struct process *process, int *status);

/* The same, but leaves pidfd open: for who watches it and has to end the watch first. */
int process_collect(const struct process *process, int *status);

/*
 * Kills the group and gives the process up: it is reaped in the background whenever it ends. In a
 * task returns at once; elsewhere waits for the end. Closes pidfd.
 */
void process_abandon(struct process *process);

/*
 * A run from start to end: input is written to its stdin, output and errors are collected up to
 * their bounds (the rest is read and dropped), and the group is killed at the deadline or when the
 * task is interrupted.
 */
struct process_run {
        /* set by the caller */
        const char *input; /* borrowed, or null for an empty stdin */
        size_t input_length;
        size_t output_max; /* bytes kept of stdout */
        size_t errors_max; /* bytes kept of stderr */
        int64_t deadline;  /* monotonic ns, or CLOCK_NEVER */
        int64_t linger;    /* ns that pipes may stay open after the child has ended; 0 is
                              PROCESS_LINGER */
        bool interruptible;
        /* called in the task at the deadline or interrupt, to kill what has left the group; it may
         * wait. Then the child has a moment to end by itself before its group is killed. Or null */
        void (*on_kill)(void *argument);
        void *on_kill_argument;
        /* the result; the caller calls process_run_fini */
        struct buffer output;
        struct buffer errors;
        bool output_cut; /* more came than was kept */
        bool errors_cut;
        int status; /* as of waitpid(2) */
};
#define PROCESS_LINGER (INT64_C(1000000000)) /* ns */

/*
 * Task only. options' stdin_fd, stdout_fd and stderr_fd are ignored: pipes are made. Returns 0 when
 * the child ended by itself, whatever its status; -ETIMEDOUT (DEADLINE_EXCEEDED) or -ECANCELED
 * after a kill; else why it did not start.
 */
int process_run(const struct process_options *options, struct process_run *run, struct error *err);
void process_run_fini(struct process_run *run);

/*
 * Turns a finished run's status into an error unless it is exit code 0: "runc: exit status 1: <last
 * line of errors>". what is the program's name for people.
 */
int process_check(const struct process_run *run, const char *what, struct error *err);

/*
 * Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat): with the pid it
 * names a process for good. 0 when there is none. Any thread.
 */
uint64_t process_start_time(pid_t pid);
/* A pidfd (close-on-exec) of that very process, or -ESRCH when it has ended. Any thread. */
int process_open(pid_t pid, uint64_t start_time);

#endif
