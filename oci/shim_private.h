/*
 * shim_private: what oci/shim*.c share. For nobody else.
 */
#ifndef CRISP_OCI_SHIM_PRIVATE_H
#define CRISP_OCI_SHIM_PRIVATE_H

#include <protobuf-c/protobuf-c.h>

#include "api/ttrpc/client.h"
#include "base/table.h"
#include "base/task.h"
#include "api/google/protobuf/any.pb-c.h"
#include "oci/shim.h"

#define SHIM_ANSWER_BYTES_MAX 8192 /* of a start's output */
#define SHIM_VERSION_MAX      3    /* of the task API */

/* What a shim answers to its start. */
struct shim_bootstrap {
        char *address; /* "unix:///run/..." */
        int version;   /* of the task API: 2 or 3 */
};
/* Reads it: a plain address, or JSON. Any thread. */
int shim_bootstrap_parse(const char *bytes, size_t length, struct shim_bootstrap *bootstrap,
                         struct error *err);
void shim_bootstrap_fini(struct shim_bootstrap *bootstrap);

/* A pod's. Counted: one that is forgotten stays while a task uses it. */
struct shim {
        unsigned refs;
        const struct runtime_handler *handler;
        char *pod_id;
        char *folder;
        struct shim_bootstrap bootstrap; /* address is null until it was read */
        pid_t pid;                       /* of the shim itself; 0 where it did not tell */
        uint64_t start_time;
        bool sandboxed;     /* its sandbox was, or may have been, created */
        bool sandbox_api;   /* by the sandbox API; else it is a container */
        bool sandbox_known; /* it was created: its end is waited for on each connection */
        bool stopping;
        struct ttrpc_client *client; /* or null */
        struct task_lock connecting;
        int log; /* its log's pipe, or -1 */
        struct watch *log_watch;
};

/* A container's. */
struct shim_task {
        char *pod_id;
        char *bundle;
};

struct shims {
        char *run_dir;
        char *address;
        char *events; /* path of our socket for events */
        void (*on_gone)(const char *pod_id);
        void (*on_oom)(const char *container_id);
        struct ttrpc_server *server; /* null where it could not be opened */
        struct table *pods;          /* struct shim by pod */
        struct table *tasks;         /* struct shim_task by container */
};
extern struct shims shims;

/* A new reference, to be given back; null where no such shim is known. */
struct shim *shim_of_pod(const char *pod_id);
struct shim *shim_of_task(const char *container_id, const struct shim_task **task);
void shim_unref(struct shim *shim);
static inline void cleanup_shim(struct shim **shim)
{
        if (*shim)
                shim_unref(*shim);
}
#define AUTO_SHIM CLEANUP(cleanup_shim)

char *shim_bundle(const struct shim *shim); /* on the heap */
/* "containerd.task.v2.Task" */
const char *shim_service(const struct shim *shim);
int shim_connect_client(struct shim *shim, int64_t deadline, struct error *err);

/* A call of the task service. response as with ttrpc_call. UNAVAILABLE where the shim has ended. */
int shim_ask(struct shim *shim, const char *method, const ProtobufCMessage *request,
             const ProtobufCMessageDescriptor *type, int64_t deadline, ProtobufCMessage **response,
             struct error *err);
bool shim_is_gone(const struct error *err); /* of shim_ask and shim_connect_client */

/* The same of another service of the shim's; null is the task service, whose name is known only
 * with a connection. */
int shim_ask_service(struct shim *shim, const char *service, const char *method,
                     const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
                     int64_t deadline, ProtobufCMessage **response, struct error *err);

/* ---- the pod's sandbox: what stands for the pod in the shim (a virtual machine) ---- */

struct shim_start;
/* Creates and starts it: by the sandbox API where the handler says so, else as a container. */
int shim_sandbox_start(struct shim *shim, const struct shim_start *start, int64_t deadline,
                       struct error *err);
/* Asks for its end to be told, on this connection: then shims.on_gone hears it. */
void shim_sandbox_await(struct shim *shim);
/* Ends it; one that is not there is fine. By the sandbox API the shim ends with it. */
int shim_sandbox_end(struct shim *shim, int64_t deadline, struct error *err);

/* Runs the shim's program: action "start" or "delete", in this folder. Output of at most
 * SHIM_ANSWER_BYTES_MAX. */
struct shim_run {
        const struct runtime_handler *handler;
        const char *id;
        const char *bundle; /* where it is run; told with -bundle for "delete" */
        const char *action;
        int cgroup_fd;
        const char *const *cgroup_v1_tasks;
};
int shim_run(const struct shim_run *run, int64_t deadline, struct buffer *output,
             struct error *err);

/* The options for create, and for start, in any (whose value is then on the heap); false where
 * there are none. */
bool shim_options(const struct runtime_handler *handler, Google__Protobuf__Any *any);

/* Ends and deletes one task; one that is not known is fine. */
int shim_delete_task(struct shim *shim, const char *id, int64_t deadline, struct error *err);
/* `delete` of the shim's program for what a dead shim left, in the bundle. */
int shim_delete_dead(const struct runtime_handler *handler, const char *id, const char *bundle,
                     int64_t deadline, struct error *err);

/* Reads metrics (io.containerd.cgroups.v1.Metrics or v2's) as shim_stats gives them; the times in
 * stats stay. Pure; any thread. */
int shim_stats_parse(const char *type, const uint8_t *bytes, size_t length,
                     struct cgroup_stats *stats, struct cgroup_detail *detail, struct error *err);

/* The server for events. */
int shim_events_open(struct error *err);

#endif
