/*
 * container: a container, from its first intent to its removal.
 *
 * Counted like a pod, and changed under its own lock: where a task needs both, the pod's comes
 * first.
 */
#ifndef CRISP_CRI_CONTAINER_H
#define CRISP_CRI_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cri/container_usage.h"
#include "cri/pod.h"
#include "oci/monitor.h"

enum container_phase {
        CONTAINER_CREATING, /* CreateContainer is under way; in no list */
        CONTAINER_CREATED,
        CONTAINER_STARTING, /* StartContainer is under way: CREATED to clients */
        CONTAINER_RUNNING,
        CONTAINER_EXITED,
        CONTAINER_REMOVED, /* in no table any more */
};

struct container {
        unsigned refs;
        char id[ID_LENGTH + 1];
        struct arena *arena;                          /* owns request */
        Runtime__V1__CreateContainerRequest *request; /* as it came; config is never null */
        struct pod *pod;                              /* counted */
        struct container *next;                       /* in pod->containers */
        char *name;                                   /* key of node.container_names */

        enum container_phase phase;
        int64_t created_at, started_at, finished_at; /* real time, ns; 0 before */
        int exit_code;
        const char *reason; /* a literal; null where CRI wants none */
        char *message;      /* of a failed start; or null */

        char *image_id;    /* "sha256:..." */
        char *image_name;  /* as the image was asked for, so that it stays known when the image has
                              gone */
        char **volume_ids; /* strv: images of its mounts, in their order (image_volume.h); or null
                            */
        char *cgroup_path; /* in each hierarchy */
        char *log_path;    /* absolute, or null */
        uint32_t uid, gid;
        uint32_t *gids; /* additional groups */
        size_t gid_count;
        int stop_signal; /* a number of the kernel's */

        /* What it may use, in effect (container_resources.h); null only while it is being created.
         * It lives in arena, or, once it was changed, in resources_arena. */
        Runtime__V1__LinuxContainerResources *resources;
        struct arena *resources_arena;
        /* What a running update is changing them to, for a daemon that ends meanwhile; or null. */
        Runtime__V1__LinuxContainerResources *resources_wanted;
        bool bundle_outdated; /* they were changed before its start */

        pid_t pid; /* of the first process while the monitor watches it; else 0 */
        uint64_t start_time;
        int pidfd;               /* or -1 */
        struct monitor *monitor; /* or null */
        bool of_earlier_boot;    /* its record was written before this boot */
        bool oom_told;           /* a shim said that a guest's kernel killed in it */
        bool exit_told;          /* by its monitor, which keeps a record of it */
        bool in_runtime;         /* the runtime may know it */
        bool clean;              /* nothing is mounted and the runtime knows nothing of it */
        bool stop_signalled;
        bool killing_cgroup;               /* a task is at it */
        bool seccomp_notifies;             /* its profile asks a seccomp_notifier */
        struct seccomp_notifier *notifier; /* owned; while it may run, or null */
        char *forbidden_calls;             /* why its notifier has stopped it, or null */
        bool starting; /* StartContainer is at work, and tells what came of it */
        bool removing; /* nobody is given it any more; settled is signalled when it is over */
        bool claimed;  /* a client knows its id */
        struct timer *unclaimed_timer;
        enum event_kind told; /* of it, by GetContainerEvents */

        uint8_t *listed; /* its entry in ListContainers, packed, for listed_state; or null */
        size_t listed_length;
        Runtime__V1__ContainerState listed_state;

        struct stats_source *stats; /* once somebody asked; or null */
        struct container_usage usage;

        unsigned sessions; /* of exec and attach that are open */

        const char *step; /* a literal; null when nothing is being done */
        int64_t step_since;
        struct error *failure; /* why its creation failed, for who joined it */
        struct event settled;  /* signalled when it is no longer being created */
        struct event ended;    /* signalled when it has exited */
        struct task_lock lock;
};

/* ---- the object (container.c) ---- */

struct container *container_new(const char *id, struct pod *pod,
                                const Runtime__V1__CreateContainerRequest *request);
struct container *container_ref(struct container *container);
void container_unref(struct container *container); /* null is allowed */

static inline void cleanup_container(struct container **container)
{
        container_unref(*container);
}
#define AUTO_CONTAINER CLEANUP(cleanup_container)

void container_publish(struct container *container);
void container_withdraw(struct container *container);
/* As pod_find. */
int container_find(const char *id, struct container **container, struct error *err);
bool container_is_listed(const struct container *container);
void container_step(struct container *container, const char *step);

/* ns that a call of the container's runtime may take, as its handler's configuration has it. */
int64_t container_runtime_patience(const struct container *container);
/* Whether a process of it may be there, or may come up. */
bool container_may_run(const struct container *container);

static inline const Runtime__V1__ContainerConfig *
container_config(const struct container *container)
{
        return container->request->config;
}
/* Never null. */
const Runtime__V1__LinuxContainerSecurityContext *
container_security(const struct container *container);
/* A path of its state folder, or of its run folder, on the heap. */
char *container_state_path(const struct container *container, const char *name);
char *container_run_path(const struct container *container, const char *name);

json_t *container_record(const struct container *container);
int container_save(struct container *container, bool durable, struct error *err);
/*
 * Writes the same record into the run folder: what changes with each start is of no use after a
 * reboot, so nobody waits for a disk. container_save follows in its own time.
 */
int container_save_run(struct container *container, struct error *err);
void container_save_later(struct container *container);
int container_restore(struct container *container, const json_t *record, struct error *err);

/* ---- its life ---- */

/*
 * Connects to its monitor, which runs, and takes it as the container's phase says. -ENOENT when no
 * monitor is there. Loop's thread; does not wait.
 */
int container_connect(struct container *container, struct error *err);
/* Notes the exit. Starts the cleaning up in a task of its own. */
void container_exited(struct container *container, const struct monitor_exit *exit);
/*
 * How it ended, as its monitor recorded it; or, without such a record, that the kernel killed in it
 * for want of memory, which is recorded then. -ENOENT where neither tells. Blocks on the disk; any
 * thread.
 */
int container_read_exit(const struct container *container, struct monitor_exit *exit,
                        struct error *err);
/* The same for one whose end nobody saw: 255, Unknown, with a message that says why. */
void container_exited_unseen(struct container *container, const char *message);
/* The same for one that did not start: exit code 128, StartError. */
void container_start_failed(struct container *container, const struct error *reason);

/* Sends a signal to its first process (SIGKILL: to all where it has no PID namespace of its own).
 */
void container_signal(struct container *container, int signal);
/* Kills it, waits until it has ended, and cleans up. Takes the lock. */
int container_end(struct container *container, struct error *err);
/* Ends and removes it. Takes the lock. */
int container_remove(struct container *container, struct error *err);
/*
 * Unmounts and deletes what it no longer needs. With the lock held; idempotent. While the monitor
 * has not been able to write the exit record (a full disk) it stays within reach: it alone would
 * know the exit after a restart; unless removing, with which the exit is forgotten anyway.
 */
int container_clean_up(struct container *container, bool removing, struct error *err);
/* Has it cleaned up, if it has ended, by a task of its own and in turn with others. Does not wait.
 */
void container_clean_up_later(struct container *container);

/* Writes its bundle's config.json (container_spec.c); reads files: on a worker only. */
struct container_bundle {
        const struct container *container;
        const struct image_config *image;
        const struct rootfs *rootfs;
        char *const *volumes; /* for each mount what of an image it binds, or "" */
        const struct confinement *confinement;
        /* the result: moved into the container on the loop's thread */
        uint32_t uid, gid;
        uint32_t *gids;
        size_t gid_count;
        struct error *err;
};
int container_make_bundle(void *bundle);

/* ---- handlers ---- */

rpc_handler container_create_handler, container_start_handler, container_stop_handler,
        container_remove_handler, container_status_handler, container_list_handler,
        container_stream_handler, container_reopen_log_handler, container_exec_sync_handler,
        container_update_handler, container_exec_handler, container_attach_handler;

/* Ends an update that an earlier daemon began (container_update.c), in a task of its own. */
void container_update_resume(struct container *container);
/* A task's. Where scopes are systemd's: so that it keeps the limits that the runtime has set. */
void container_tell_systemd(struct container *container);

Runtime__V1__ContainerStatus *container_status(const struct container *container,
                                               struct arena *arena);
Runtime__V1__ContainerState container_state(const struct container *container);
/* An error unless the container runs: FAILED_PRECONDITION naming its state. */
int container_require_running(const struct container *container, struct error *err);
/* The same, and unless its pod's handler is still configured. */
int container_require_exec(const struct container *container, struct error *err);

#endif
