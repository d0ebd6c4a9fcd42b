/*
 * exec: a command in a running container, from start to end (ExecSync).
 *
 * Each command runs in a cgroup of its own below the container's, so that at the timeout all that
 * it started is killed, whatever session or parent it has taken, and nothing else. What it leaves
 * running when it ends by itself stays, and moves to the container's cgroup.
 */
#ifndef CRISP_OCI_EXEC_H
#define CRISP_OCI_EXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "oci/cgroup.h"
#include "oci/runtime.h"

#define EXEC_OUTPUT_MAX (16 * 1024 * 1024 - 64 * 1024) /* bytes of stdout and stderr together */
#define EXEC_KILL_TIME  (INT64_C(5000000000))          /* ns that killing at the timeout may take */

struct exec_options {
        const struct runtime_handler *handler;
        const struct cgroup_system *cgroups;
        const char *id;          /* of the container, which runs */
        const char *cgroup_path; /* of the container: struct cgroup_place's path */
        const char
                *run_dir; /* a folder on tmpfs for this command's log and pid file, there already */
        char *const *command; /* null-terminated, at least one */
        int64_t deadline;     /* monotonic ns, or CLOCK_NEVER */
        bool interruptible;   /* an interrupt of the task kills it like the deadline: CANCELLED */
};

struct exec_result {
        struct buffer output;
        struct buffer errors;
        int exit_code; /* 0 to 255; 128 + signal when one ended it */
        bool cut;      /* more came than EXEC_OUTPUT_MAX */
};

/*
 * Task only. User, environment, folder and capabilities are those of the container's process.
 * DEADLINE_EXCEEDED at the deadline, when all that it started is dead; UNKNOWN with the runtime's
 * words when the command could not be started ("nosuch": executable file not found in $PATH), as
 * other CRI runtimes do. The caller calls exec_result_fini after a success.
 */
int exec_sync(const struct exec_options *options, struct exec_result *result, struct error *err);
void exec_result_fini(struct exec_result *result);

/*
 * The command for a streaming exec, for the caller's own process_start: argv on the heap
 * (strv_free). All but handler, id and command may be null: the log (JSON lines), the pid file, the
 * socket that gets the terminal (which asks for one), --cgroup's value, and one more "NAME=value".
 */
char **exec_argv(const struct runtime_handler *handler, const char *id, char *const *command,
                 const char *log, const char *pid_file, const char *console_socket,
                 const char *sub_cgroup, const char *environment);

#endif
