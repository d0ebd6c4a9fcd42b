/*
 * pod: a pod sandbox, from its first intent to its removal.
 *
 * A pod is counted: the tables hold it, and so does each task that works on it across a wait. What
 * changes it does so under its lock, one operation after the other; who only reads (status, lists)
 * does not take the lock.
 */
#ifndef CRISP_CRI_POD_H
#define CRISP_CRI_POD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/arena.h"
#include "base/id.h"
#include "base/json.h"
#include "base/task.h"
#include "cri/events.h"
#include "cri/node.h"
#include "cri/rpc.h"

struct container;
struct pod_users;
struct stats_source;

enum pod_phase {
        POD_CREATING, /* RunPodSandbox is under way; in no list */
        POD_READY,
        POD_NOTREADY, /* stopped, or its namespaces went */
        POD_REMOVED,  /* in no table any more */
};

struct pod {
        unsigned refs;
        char id[ID_LENGTH + 1];
        struct arena *arena;                        /* owns request */
        Runtime__V1__RunPodSandboxRequest *request; /* as it came; config is never null */
        char *name;                                 /* key of node.pod_names */
        const struct runtime_handler *handler;      /* null where the configuration lost it */

        enum pod_phase phase;
        int64_t created_at;  /* real time, ns */
        char *selinux_label; /* of its members' processes, which may differ by their requests; null
                                where it has none */
        char *selinux_mount_label; /* of its files; null with it */
        struct pod_users *users;   /* of a user namespace of its own (pod_users.h), or null */
        char **ips;        /* strv, the first is the pod's own; null with the host's network */
        bool attached;     /* the CNI plugins may hold something for it */
        bool torn_down;    /* nothing but its records is left */
        char *namespaces;  /* the folder where they are pinned */
        char *parent_made; /* the topmost folder of its cgroup parent that was not there before; or
                              null */
        /* What the kubelet says of the whole pod in the request's place, or null; in arena, or,
         * once it was changed, in resources_arena. */
        Runtime__V1__LinuxContainerResources *overhead, *resources;
        struct arena *resources_arena;
        bool left_cgroup; /* its part in its cgroup parent is given up */
        bool stopping;    /* takes no new containers */
        bool claimed;     /* a client knows its id; until then it is in no list */
        struct timer *unclaimed_timer;
        enum event_kind told; /* of it, by GetContainerEvents */
        pid_t holder_pid;     /* crisp-pause, where the pod shares a PID namespace; else 0 */
        uint64_t holder_start;
        int holder_fd; /* its pidfd, or -1 */
        struct watch *holder_watch;

        struct stats_source *stats; /* once somebody asked; or null */
        bool shares_cgroup;         /* its cgroup parent, with other pods (stats.c) */

        unsigned sessions; /* of port-forward that have connected */

        const char *step; /* what is being done, a literal; null when nothing */
        int64_t step_since;
        struct error *failure; /* why its creation failed, for who joined it */
        struct event settled;  /* signalled when it is no longer being created */
        struct task_lock lock;
        struct container *containers; /* linked by their next */
};

/* ---- the object (pod.c) ---- */

/* A pod that nobody knows yet, with one reference. request is copied. */
struct pod *pod_new(const char *id, const Runtime__V1__RunPodSandboxRequest *request);
struct pod *pod_ref(struct pod *pod);
void pod_unref(struct pod *pod); /* null is allowed */

static inline void cleanup_pod(struct pod **pod)
{
        pod_unref(*pod);
}
#define AUTO_POD CLEANUP(cleanup_pod)

/* Puts it into the tables, or takes it out: then its phase is POD_REMOVED. */
void pod_publish(struct pod *pod);
void pod_withdraw(struct pod *pod);

/* A pod that a client may know, by id or unique prefix; a new reference. NOT_FOUND, or
 * INVALID_ARGUMENT for an ambiguous one. */
int pod_find(const char *id, struct pod **pod, struct error *err);
bool pod_is_listed(const struct pod *pod);

/* What is being done, for explanations; null when it is done. */
void pod_step(struct pod *pod, const char *step);

static inline const Runtime__V1__PodSandboxConfig *pod_config(const struct pod *pod)
{
        return pod->request->config;
}
/* Never null. */
const Runtime__V1__NamespaceOption *pod_namespaces(const struct pod *pod);
bool pod_has_network(const struct pod *pod); /* one of its own */
bool pod_shares_pids(const struct pod *pod); /* among its containers */
bool pod_has_ipc(const struct pod *pod);     /* one of its own */

/* A path of its run folder on the heap: pod_path(pod, "ns/net"). */
char *pod_path(const struct pod *pod, const char *name);
/* The pin of a namespace on the heap: pod_namespace_path(pod, "net"). */
char *pod_namespace_path(const struct pod *pod, const char *kind);
/* Its cgroup parent as the configuration says, "" for the default. */
const char *pod_cgroup_parent(const struct pod *pod);

/* Writes record.json. Waits. */
int pod_save(struct pod *pod, bool durable, struct error *err);
void pod_save_later(struct pod *pod);      /* in a task of its own */
json_t *pod_record(const struct pod *pod); /* a new reference */
/* Takes over what a record says. */
int pod_restore(struct pod *pod, const json_t *record, struct error *err);

/* Watches the holder of its PID namespace: with that the pod ends. -ESRCH when it is gone. */
int pod_watch_holder(struct pod *pod, struct error *err);
/* NOTREADY when its network namespace has gone. Cheap; also from status calls. */
void pod_check(struct pod *pod);

/* ---- its life: with the lock held, waiting ---- */

/* Makes everything that a published pod needs (pod_setup.c). On failure nothing is left but what
 * pod_tear_down knows. */
int pod_set_up(struct pod *pod, struct error *err);
/* Takes away everything but the records (pod_teardown.c). Idempotent: goes on where an earlier try
 * stopped. */
int pod_tear_down(struct pod *pod, struct error *err);
/* Removes its cgroup parent where it made it and is the last in it. Its containers must be gone. */
int pod_leave_cgroup(struct pod *pod, struct error *err);
/* Makes its cgroup parent where it is not there (pod_cgroup.c). */
int pod_join_cgroup(struct pod *pod, struct error *err);
/* Ends its containers, tears it down, and notes that. Takes the lock. */
int pod_stop(struct pod *pod, struct error *err);
/* Stops it and removes it with its containers and records. Takes the lock. */
int pod_remove(struct pod *pod, struct error *err);

/* ---- handlers ---- */

rpc_handler pod_run_handler, pod_stop_handler, pod_remove_handler, pod_status_handler,
        pod_list_handler, pod_stream_handler, pod_update_handler, pod_port_forward_handler;

/* The statuses of its containers that a client may know, the newest first, as the kubelet sorts
 * them; in the arena. */
Runtime__V1__ContainerStatus **pod_containers_statuses(const struct pod *pod, struct arena *arena,
                                                       size_t *count);

/* Fills status as CRI wants it; what it points to is the pod's or the arena's. */
Runtime__V1__PodSandboxStatus *pod_status(const struct pod *pod, struct arena *arena);

#endif
