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
#include "oci/cpu_list.h"
#include "oci/runtime.h"

#define EXEC_OUTPUT_MAX (16 * 1024 * 1024 - 64 * 1024) /* bytes of stdout and stderr together */
#define EXEC_KILL_TIME  (INT64_C(5000000000))          /* ns that killing at the timeout may take */

/* A file in exec_options' run_dir, where a command was killed for want of memory and the
 * container's own count does not tell. */
#define EXEC_OOM_MARK "oom"

struct exec_options {
        const struct runtime_handler *handler;
        const struct cgroup_system *cgroups;
        const char *id;          /* of the container, which runs */
        const char *cgroup_path; /* of the container: struct cgroup_place's path */
        const char *run_dir;     /* a folder on tmpfs, there already: for a log and a pid file */
        const char *bundle;      /* of the container: its config.json says as whom and where */
        char *const *command;    /* null-terminated, at least one */
        bool terminal;           /* with a session alone */
        int64_t deadline;        /* monotonic ns, or CLOCK_NEVER */
        const struct cpu_list *processors; /* to begin on; null is all of the container's */
        /* crisp-exec's path. Without it a command under runc ends only when its pipes do. */
        const char *helper;
};

struct exec_result {
        struct buffer output;
        struct buffer errors;
        int exit_code; /* 0 to 255; 128 + signal when one ended it */
        bool cut;      /* more came than EXEC_OUTPUT_MAX */
};

/*
 * Task only; interruptible if the task is, and an interrupt kills like the deadline does. User,
 * environment, folder and capabilities are those of the container's process. DEADLINE_EXCEEDED at
 * the deadline, when all that it started is dead; UNKNOWN with the runtime's words when the command
 * could not be started ("nosuch": executable file not found in $PATH), as other CRI runtimes do.
 * The caller calls exec_result_fini after a success.
 */
int exec_sync(const struct exec_options *options, struct exec_result *result, struct error *err);
void exec_result_fini(struct exec_result *result);

/*
 * Writes to path what `exec --process` wants: the process of bundle's config.json with this
 * command, this terminal and, unless null, one more "NAME=value". Every runtime then does the same;
 * from arguments alone crun leaves out the additional groups. INVALID_ARGUMENT for a command that
 * is not UTF-8. Blocks on the disk.
 */
int exec_process_write(const char *bundle, char *const *command, bool terminal,
                       const char *variable, const char *path, struct error *err);

/*
 * The runtime's command for an exec, on the heap (strv_free). A word that is null is left out.
 */
struct exec_words {
        const char *process_file; /* of exec_process_write; never null */
        const char *log;          /* JSON lines */
        const char *pid_file;
        const char *console_socket; /* gets the terminal */
        const char *sub_cgroup;     /* as the runtime's --cgroup wants it */
        bool detach;
        /* for shims */
        const char *exec_id;
        const char *helper; /* crisp-exec's path */
};
char **exec_argv(const struct runtime_handler *handler, const char *id,
                 const struct exec_words *words);

#endif
