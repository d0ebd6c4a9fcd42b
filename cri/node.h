/*
 * node: everything that the daemon holds.
 *
 * There is one, and it belongs to the loop's thread: handlers run as tasks there, so they read and
 * change it without locks. Paths are absolute.
 */
#ifndef CRISP_CRI_NODE_H
#define CRISP_CRI_NODE_H

#include "base/error.h"
#include "base/table.h"
#include "cri/config.h"
#include "image/offline.h"
#include "image/pull.h"
#include "image/store.h"
#include "image/suspect.h"
#include "network/network.h"
#include "oci/cgroup.h"
#include "oci/runtime.h"
#include "oci/selinux.h"

struct node {
        const struct config *config;
        const char *sys; /* where the kernel's sysfs is: "/sys", or another for tests */

        struct cgroup_system cgroups;
        enum cgroup_driver cgroup_driver;
        struct runtime_handler *handlers; /* as configured, sorted by name */
        size_t handler_count;
        struct network *network;        /* of network.config_dir */
        struct table *handler_networks; /* struct network by cni_conf_dir of handlers */
        struct store *images;
        struct trust *trust;
        struct sources *sources;
        struct puller *puller;
        struct offline *offline;
        struct suspects *suspects;
        struct selinux *selinux;    /* null where nothing has labels */
        char *const *pinned_images; /* patterns (image/pinned.h), the configuration's; or null */

        /* Records: pods and containers of a state folder, and what only lives until the next boot.
         */
        char *pods_dir;           /* STATE/pods */
        char *containers_dir;     /* STATE/containers */
        char *run_pods_dir;       /* RUN/pods */
        char *run_containers_dir; /* RUN/containers */
        char *monitor_program;
        char *pause_program;
        char *exec_program;
        char boot_id[40]; /* of this boot, as the kernel names it */

        struct table *pods;       /* struct pod by id */
        struct table *pod_names;  /* struct pod by name, namespace, uid and attempt: the newest */
        struct table *containers; /* struct container by id */
        struct table *container_names; /* struct container by pod, name and attempt: the newest */
};

extern struct node node;

/*
 * Opens what the configuration names: folders, images, network, runtime handlers. Blocks on the
 * disk: before the loop runs. config stays the caller's and must outlive the node.
 */
int node_open(const struct config *config, struct error *err);

/* Closes the network's watch and frees memory. Pods and containers go on. After the loop. */
void node_close(void);

/*
 * Takes in the pods and containers of earlier runs, as their records and the kernel tell them.
 * Before the loop runs: it only reads. What is to be mended or cleaned up is done by tasks that it
 * starts.
 */
int node_recover(struct error *err);

/* The handler of this name, the default one for "". INVALID_ARGUMENT where there is none. */
int node_handler(const char *name, const struct runtime_handler **handler, struct error *err);

/* The same, when it can be used; else as runtime_ready. For tasks: waits for the handler's program.
 */
int node_handler_ready(const char *name, const struct runtime_handler **handler, struct error *err);

/*
 * Probes those handlers whose programs could not be used, or are not those that were probed, in the
 * background: at most every 10 s. So what was mended is seen although no pod comes.
 */
void node_look_at_handlers(void);

/*
 * Waits until each handler, and the probe for user namespaces, has been heard once: before, nothing
 * true can be said of what they can do. At most 12 s from the daemon's start. For tasks.
 */
void node_hear_handlers(void);

#endif
