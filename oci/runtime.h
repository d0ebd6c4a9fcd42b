/*
 * runtime: the OCI runtimes (runc, crun, ...) as programs that we call.
 *
 * Functions with a deadline (monotonic ns) run the program and are for tasks only; they wait and
 * hold nothing. At the deadline the program's process group is killed and they give
 * DEADLINE_EXCEEDED. Messages are the runtime's own words without its decoration: "runc start:
 * cannot start an already running container". Which code: NOT_FOUND where the runtime does not know
 * the container, else UNKNOWN; FAILED_PRECONDITION where its program is missing.
 */
#ifndef CRISP_OCI_RUNTIME_H
#define CRISP_OCI_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/task.h"

#define RUNTIME_OUTPUT_MAX  (1024 * 1024) /* bytes kept of a runtime's stdout (state, features) */
#define RUNTIME_ERRORS_MAX  (64 * 1024)   /* bytes kept of its stderr and read of its log */
#define RUNTIME_MESSAGE_MAX 1024          /* bytes of a message */

enum runtime_kind { RUNTIME_KIND_OCI, RUNTIME_KIND_SHIM };

/* Whether and how exec puts its process into a cgroup below the container's. */
enum runtime_exec_cgroup {
        RUNTIME_EXEC_CGROUP_NONE,       /* no --cgroup */
        RUNTIME_EXEC_CGROUP_CONTROLLER, /* runc: --cgroup [CONTROLLER:]NAME */
        RUNTIME_EXEC_CGROUP_ALL,        /* crun: --cgroup NAME, in every hierarchy */
};

struct runtime_operations;
/* What a runtime may have besides what every one has, by its commands. */
enum runtime_command {
        RUNTIME_COMMAND_PAUSE,
        RUNTIME_COMMAND_RESUME,
        RUNTIME_COMMAND_UPDATE,
        RUNTIME_COMMAND_PS,
        RUNTIME_COMMAND_EVENTS,
        RUNTIME_COMMAND_FEATURES,
        RUNTIME_COMMAND_CHECKPOINT,
        RUNTIME_COMMAND_RESTORE,
        RUNTIME_COMMANDS,
};

/* One entry of [runtime.handlers]. Strings are owned. Filled by runtime_handler_init, then by
 * runtime_probe. */
struct runtime_handler {
        char *name; /* "runc": RuntimeClass' handler */
        char *path; /* absolute */
        char *root; /* where it keeps its state: RUN_DIR/runtime/NAME; empty: it is only probed */
        enum runtime_kind kind;
        bool systemd_cgroup;
        /* With kind "shim", set by the caller after runtime_handler_init; null is none. */
        char *shim_runtime;      /* the OCI runtime that runc's shim drives: a path */
        char *shim_config;       /* its configuration file, as others' shims want it */
        char *shim_options_type; /* the type that the shim gives to what is in that file */
        bool sandbox;            /* a pod has a sandbox of its own in the shim (Kata's VM) */
        bool sandbox_api;        /* it is made by the sandbox API; else as a container */
        const struct runtime_operations *operations; /* a shim's; null is the command line */
        bool no_pivot;                               /* create with --no-pivot */
        bool hybrid; /* the machine has cgroup v1 with v2 beside it */
        /* found by runtime_probe */
        char *version; /* "runc version 1.1.5+ds1", or null */
        /* The newest runtime specification that it says it speaks: "1.0.2"; or null. */
        char *spec_version;
        bool commands[RUNTIME_COMMANDS];
        enum runtime_exec_cgroup exec_cgroup;
        /* It writes a quota of -1 as a number that cgroup v1 does not take. */
        bool no_negative_quota;
        bool recursive_read_only; /* mount options rro and the like */
        bool idmapped_mounts;
        bool user_namespaces; /* it joins one that is there already */
        char *problem;        /* why it cannot be used, or null */
        struct runtime_file {
                uint64_t device, inode;
                int64_t changed; /* ns */
        } probed;                /* the program that all this was found of */
        struct task_lock probing;
};

/* Copies the strings. kind "oci" or "shim". */
void runtime_handler_init(struct runtime_handler *handler, const char *name, const char *path,
                          const char *root, enum runtime_kind kind, bool systemd_cgroup);
void runtime_handler_fini(struct runtime_handler *handler);

/* Whether it is containerd-shim-runc-v2 or one like it, which drives an OCI runtime. */
bool runtime_is_shim_of_runc(const struct runtime_handler *handler);

/*
 * Where the program is not the one that was probed, or could not be used then, it is probed
 * (again): it may have been installed or replaced meanwhile. Callers that come together wait for
 * one probe. FAILED_PRECONDITION as of runtime_probe.
 */
int runtime_ready(struct runtime_handler *handler, int64_t deadline, struct error *err);

/* Whether runtime_ready would give 0 without asking the program. A stat(2). */
bool runtime_is_known(const struct runtime_handler *handler);

/* "pause", "checkpoint", ... */
const char *runtime_command_name(enum runtime_command command);

/* Whether the runtime has the command: FAILED_PRECONDITION in words where it has not. */
int runtime_has(const struct runtime_handler *handler, enum runtime_command command,
                struct error *err);

/*
 * The specification's version to write for it: ours, or the runtime's where that is older. Static
 * or the handler's.
 */
const char *runtime_spec_version(const struct runtime_handler *handler);

/*
 * Asks the program for its version and features and makes its root folder (mode 0700). A program
 * that is missing, not executable or fails gives FAILED_PRECONDITION "runtime handler runc:
 * /usr/sbin/runc: No such file or directory"; the same stays in handler->problem. May be called
 * again.
 */
int runtime_probe(struct runtime_handler *handler, int64_t deadline, struct error *err);

/* FAILED_PRECONDITION, naming path and handler, where the program is not there or not executable
 * now. One access(2). */
int runtime_check(const struct runtime_handler *handler, struct error *err);

/* PATH and the few variables that runtimes need, for process_options.environment. Static. */
char *const *runtime_environment(void);

/*
 * The command that the monitor runs, on the heap (strv_free): PATH --root R [--systemd-cgroup]
 * --log LOG --log-format json create --bundle B
 * --pid-file P [--console-socket @console-socket@] ID.
 */
char **runtime_create_argv(const struct runtime_handler *handler, const char *id,
                           const char *bundle, const char *pid_file, const char *log,
                           bool terminal);

/*
 * How a monitor creates a container: by a command, or by what it sends to a shim.
 */
struct runtime_create {
        const char *id;
        const char *bundle;
        const char *folder; /* of the container, on tmpfs, there already */
        const char *pid_file;
        const char *log;
        bool terminal;
        bool stdin_open;
        /* the result, on the heap: runtime_create_fini */
        char **command;    /* strv; or null, and then the next three: see struct monitor_options */
        char *shim;        /* its address */
        char *shim_create; /* files that hold the requests */
        char *shim_wait;
        char *shim_close;
};
/* Task only; waits for a shim. */
int runtime_prepare_create(const struct runtime_handler *handler, struct runtime_create *create,
                           int64_t deadline, struct error *err);
void runtime_create_fini(struct runtime_create *create);

/*
 * Why a runtime failed, from its --log file (JSON lines; null or missing is fine) or else from what
 * it wrote to stderr (may be null): the last error's text without decoration, on the heap; never
 * null. Reads a file: tmpfs, so it may be called on the loop's thread.
 */
char *runtime_failure(const char *log_path, const char *errors, size_t length);

int runtime_start(const struct runtime_handler *handler, const char *id, int64_t deadline,
                  struct error *err);
/* all: every process in the container's cgroup. A container that has ended or is not known: 0. */
int runtime_kill(const struct runtime_handler *handler, const char *id, int signal, bool all,
                 int64_t deadline, struct error *err);
/* force kills first. Not known is fine. */
int runtime_delete(const struct runtime_handler *handler, const char *id, bool force,
                   int64_t deadline, struct error *err);
/* Removes what an OCI runtime keeps of a container, in its root folder: for one that it did not
 * delete, and of which the kernel has nothing any more. Waits. */
void runtime_forget(const struct runtime_handler *handler, const char *id);
int runtime_pause(const struct runtime_handler *handler, const char *id, int64_t deadline,
                  struct error *err);
int runtime_resume(const struct runtime_handler *handler, const char *id, int64_t deadline,
                   struct error *err);
/* resources: JSON text of spec_resources_build. */
int runtime_update(const struct runtime_handler *handler, const char *id, const char *resources,
                   int64_t deadline, struct error *err);

enum runtime_status {
        RUNTIME_STATUS_UNKNOWN,
        RUNTIME_STATUS_CREATING,
        RUNTIME_STATUS_CREATED,
        RUNTIME_STATUS_RUNNING,
        RUNTIME_STATUS_PAUSED,
        RUNTIME_STATUS_STOPPED,
};

struct runtime_state {
        enum runtime_status status;
        pid_t pid; /* 0 when stopped */
};

/* NOT_FOUND when the runtime does not know the container. */
int runtime_state(const struct runtime_handler *handler, const char *id, int64_t deadline,
                  struct runtime_state *state, struct error *err);

/* Sizes the terminal of a container that a shim runs; UNIMPLEMENTED for others, whose monitor does.
 */
int runtime_resize(const struct runtime_handler *handler, const char *id, uint16_t rows,
                   uint16_t columns, int64_t deadline, struct error *err);

/* The ids that the runtime knows, as a vector on the heap (strv_free). */
int runtime_list(const struct runtime_handler *handler, int64_t deadline, char ***ids,
                 struct error *err);

#endif
