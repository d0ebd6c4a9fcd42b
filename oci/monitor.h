/*
 * monitor: the daemon's side of crisp-monitor, which watches one container (conmon/).
 *
 * The monitor runs on when the daemon goes. So a container is found again after a restart in this
 * order: monitor_connect; where that fails, exit_record_read; where there is none, it ended unseen.
 * A record is always written before the socket closes.
 *
 * All functions belong to the loop's thread; those that wait say so and must be called from a task.
 */
#ifndef CRISP_OCI_MONITOR_H
#define CRISP_OCI_MONITOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "conmon/protocol.h"

/* ---- starting ---- */

struct monitor_options {
        const char *program;     /* absolute path of crisp-monitor */
        const char *id;          /* the container's; so that ps shows whose monitor it is */
        const char *directory;   /* the container's durable folder: the exit record goes there */
        const char *socket_path; /* where the monitor listens, in the run folder; any length; a
                                    stale one is replaced */
        const char *pid_file;    /* where the runtime's command writes the container's pid */
        const char *log_path;    /* the CRI log, or null for none. Its folder must be there */
        uint64_t log_size_max;   /* bytes after which the log starts anew, or 0 for no bound */
        unsigned log_files_max;  /* files of a log with such a bound, 1 or more; 0 is 1 */
        unsigned log_line_max;   /* bytes of a line after which it is cut, or 0 for the default */
        const char *journal_socket; /* journald's, which gets a copy of each line; or null */
        const char *name;           /* the container's in the journal, or null */
        const char
                *oom_file; /* v1 memory.oom_control or v2 memory.events of the container, or null */
        const char *oom_parent_file; /* cgroup_oom_parent_file's */
        const char *runtime_log;     /* what the command's --log names (JSON), or null */
        bool terminal;   /* the command has "--console-socket", MONITOR_CONSOLE_SOCKET */
        bool stdin_open; /* a pipe stays open as the container's stdin (else it is /dev/null) */
        bool stdin_once;
        char *const *command; /* the runtime's whole create command; command[0] an absolute path */
        /* In place of a command, a pid file and a runtime's log: a shim's address, and files with
         * the whole requests (frames of streams 1, 3 and 5) that create the task, with FIFOS/stdin,
         * stdout and stderr as its stdio, that wait for its end, and that close its stdin. */
        const char *shim, *shim_create, *shim_wait, *shim_close;
        const char *fifos;                  /* folder; made there anew */
        char *const *environment;           /* of the monitor and the runtime, null-terminated */
        int cgroup_fd;                      /* cgroup v2 folder to start in, or -1 */
        const char *const *cgroup_v1_tasks; /* as in struct process_options, or null */
        int64_t deadline; /* monotonic ns for the runtime's create, or CLOCK_NEVER */
};

#define MONITOR_OPTIONS_INIT                                                                       \
        {                                                                                          \
                .cgroup_fd = -1, .deadline = INT64_MAX                                             \
        }

struct monitor_started {
        pid_t pid;           /* the container's first process, created and not yet started */
        uint64_t start_time; /* its start time, as of process_start_time() */
        pid_t monitor_pid;
};

/*
 * Starts a monitor, which runs the create command, and waits for its report. 0: the container is
 * created, its monitor listens at socket_path. On failure nothing of the monitor is left running;
 * what the runtime made remains for the caller to delete. Errors: UNKNOWN "runc: exit status 1:
 * <what the runtime said>" when the command failed, DEADLINE_EXCEEDED at the deadline (monitor and
 * runtime are killed), else what kept the monitor from starting. The monitor is reaped when it
 * ends; nothing needs to be kept for that. Task only; waits.
 */
int monitor_start(const struct monitor_options *options, struct monitor_started *result,
                  struct error *err);

/* ---- the connection to a running one ---- */

struct monitor_exit {
        pid_t pid;
        uint64_t start_time;
        int exit_code; /* 0 to 255; 128 + signal when a signal ended it */
        int signal;    /* or 0 */
        bool oom_killed;
        int64_t finished_at; /* real time, ns since 1970 */
        /* lines of output that could not be written up to then; 0 where a record tells the exit */
        uint64_t log_lost_lines, journal_lost_lines;
};

struct monitor;

/*
 * Called once on the loop's thread, outside any task: with the exit when the container ended (all
 * it wrote is in the log by then; and the exit is recorded, unless the disk is full), or with null
 * when the connection ended without it: then look for the exit record. May call monitor_free. After
 * the call the connection is closed, requests fail.
 */
typedef void monitor_exit_function(void *argument, const struct monitor_exit *exit);

/*
 * Connects to the monitor at socket_path (any length). Does not wait. on_exit comes later, never
 * from within this call, also when the container has ended already. *monitor is freed by
 * monitor_free. Errors: NOT_FOUND
 * (-ENOENT, -ECONNREFUSED) when no monitor is there.
 */
int monitor_connect(const char *socket_path, monitor_exit_function *on_exit, void *argument,
                    struct monitor **monitor, struct error *err);

/* The monitor's own pid, or 0 when the connection has ended. */
pid_t monitor_pid(const struct monitor *monitor);

/* Closes the connection; on_exit does not come any more, requests under way fail with CANCELLED.
 * Null is allowed. */
void monitor_free(struct monitor *monitor);

/*
 * Requests. Each waits for its reply until deadline (monotonic ns) and may be under way several
 * times. Task only. UNAVAILABLE when the connection has ended.
 */
int monitor_get_status(struct monitor *monitor, int64_t deadline, struct monitor_status *status,
                       struct error *err);
/* FAILED_PRECONDITION without a terminal or after the container's end. */
int monitor_resize(struct monitor *monitor, uint16_t rows, uint16_t columns, int64_t deadline,
                   struct error *err);
/* Opens the log anew at its path, after a rotation renamed it. FAILED_PRECONDITION after the
 * container's end: then no file is made. */
int monitor_reopen_log(struct monitor *monitor, int64_t deadline, struct error *err);

/* The monitor's ends of an attach (conmon/protocol.h); -1 for those that are not wanted, but for
 * control. */
struct monitor_ends {
        int control, input, output, errors;
};

/*
 * Attaches to the container: the ends are copied, and still the caller's to close. *has_input: it
 * has an input. FAILED_PRECONDITION after the container's end, RESOURCE_EXHAUSTED when
 * MONITOR_ATTACH_MAX are attached, UNIMPLEMENTED by a monitor of an older version.
 */
int monitor_attach(struct monitor *monitor, const struct monitor_ends *ends, int64_t deadline,
                   bool *has_input, struct error *err);

/* ---- what it left ---- */

/*
 * Reads the exit record in the container's folder. -ENOENT (NOT_FOUND) when there is none;
 * DATA_LOSS when there is one that cannot be understood. Blocks on the disk: from a task through
 * task_offload. Any thread.
 */
int exit_record_read(const char *directory, struct monitor_exit *record, struct error *err);

/* Writes one in the stead of a monitor that is gone, durably. Blocks on the disk. Any thread. */
int exit_record_write_for(const char *directory, const struct monitor_exit *record,
                          struct error *err);

#endif
