/*
 * shim: runtimes that stay, one for each pod, and are spoken to over ttrpc (containerd's runtime
 * v2: Kata's shim, runsc's, containerd-shim-runc-v2).
 *
 * A pod's shim is started with the pod and serves all its containers; it is found again after the
 * daemon's restart by what it answered to its start, which is kept in the pod's shim folder.
 * Creating a task and waiting for its end is the monitor's part (conmon/shim.h), so that neither
 * log nor exit needs the daemon; all else is done here, and looks to callers like any other runtime
 * (oci/runtime.h).
 *
 * All functions belong to the loop's thread; those with a deadline (monotonic ns) wait and are for
 * tasks only.
 */
#ifndef CRISP_OCI_SHIM_H
#define CRISP_OCI_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "oci/cgroup_stats.h"
#include "oci/runtime.h"
#include "oci/spec.h"

#define SHIM_NAMESPACE "k8s.io" /* of all tasks, as containerd's CRI has it */

struct shims_options {
        const char *run_dir; /* the socket for events is made there: its path is to be short */
        const char *address; /* our own socket: part of what shims make their sockets' names of */
        /* A pod's shim, or its sandbox, has ended without having been asked to. On the loop's
         * thread, outside any task. */
        void (*on_gone)(const char *pod_id);
        /* A shim tells that the kernel, perhaps a guest's, killed in a container for want of
         * memory. From a task. */
        void (*on_oom)(const char *container_id);
};

/* Once for each process; where it fails handlers of kind shim do not work. */
int shims_open(const struct shims_options *options, struct error *err);
void shims_close(void); /* shims go on */

/* ---- a pod's ---- */

struct shim_start {
        const struct runtime_handler *handler;
        const char *pod_id;
        const char *folder; /* the pod's, for its shim; made where it is missing. The bundle is
                               FOLDER/POD_ID */
        const char *config; /* the bundle's config.json */
        int cgroup_fd;      /* where the shim is to live; as in struct process_options */
        const char *const *cgroup_v1_tasks;
        /* What the sandbox API tells a shim besides; not looked at for others. */
        const char *netns; /* or null: the host's */
        const struct spec_pair *annotations;
        size_t annotation_count;
        const char *pod_config_type; /* "runtime.v1.PodSandboxConfig" */
        const void *pod_config;      /* packed */
        size_t pod_config_length;
};

/*
 * Starts the pod's shim and, where the handler wants one, its sandbox, whose container's root must
 * be there. On failure what was started is ended. Errors: what the shim's program or the shim says.
 */
int shim_start(const struct shim_start *start, int64_t deadline, struct error *err);

/* Makes a pod's shim known again; connects when something is asked of it. Does not wait. */
void shim_know(const struct runtime_handler *handler, const char *pod_id, const char *folder);

/* Connects to a shim that is known, unless it is connected already. NOT_FOUND where it has ended.
 */
int shim_connect_again(const char *pod_id, int64_t deadline, struct error *err);

/*
 * Ends a pod's shim, with its sandbox container, whether or not it still answers; 0 where there is
 * none. Its folder stays, for the caller to remove.
 */
int shim_stop(const char *pod_id, int64_t deadline, struct error *err);

/* Whether it answers by then. Waits. */
bool shim_answers(const char *pod_id, int64_t deadline);

/*
 * Kills a pod's shim, which does not do what it is asked: then its monitors and on_gone tell as of
 * any that dies. Does not wait.
 */
void shim_kill(const char *pod_id);

/* ---- its containers ---- */

/* Tells whose container it is: before anything is asked of it, and again after a restart. bundle:
 * absolute. */
void shim_know_task(const char *container_id, const char *pod_id, const char *bundle);
void shim_forget_task(const char *container_id);

/*
 * What a container uses, as its shim tells: for one whose processes are a guest's, of which the
 * host's cgroups know nothing. detail may be null. stats->parts says what was told. UNIMPLEMENTED
 * where the shim has no statistics; UNAVAILABLE where it has ended. Both are untouched on failure
 * but for the time. Waits.
 */
int shim_stats(const char *container_id, int64_t deadline, struct cgroup_stats *stats,
               struct cgroup_detail *detail, struct error *err);

#endif
