/*
 * network_internal: what network.c (the configuration), network_pod.c (the pods) and network_gc.c
 * share.
 */
#ifndef CRISP_NETWORK_NETWORK_INTERNAL_H
#define CRISP_NETWORK_NETWORK_INTERNAL_H

#include <jansson.h>

#include "base/table.h"
#include "base/task.h"
#include "network/cni_cache.h"
#include "network/cni_config.h"
#include "network/network.h"
#include "network/network_watch.h"

/* What the networks of a daemon share, since network_gc frees what none of them knows of. */
struct network_shared {
        unsigned references;
        /* Pods that are being connected: by id, the values are of no meaning. */
        struct table *attaching;
        struct table *spared; /* null unless network_gc runs: those connected since it began */
        bool collecting;      /* plugins are freeing all that they are not told of */
        struct event collected;
};

struct network {
        char *config_dir;
        char **plugin_dirs;
        char *cache_dir;
        char *owner;           /* or null */
        char *default_network; /* or null */
        unsigned max_networks;
        int64_t timeout;
        int64_t ready_timeout;
        int64_t grace;
        enum network_preference preference;
        bool hostports;

        /* The configuration as last read. */
        struct network_watch *watch;
        struct cni_config config;
        char *load_problem; /* why the folder could not be read, or null */
        bool loading, load_again;

        /* What its plugins say of themselves. */
        char *plugin_problem; /* why pods cannot be connected, or null */
        bool probing;
        int64_t failing_since; /* monotonic: plugins say that they are not ready; 0: they do not */
        struct timer *probe_timer;
        struct event changed; /* signalled when it may have become ready */

        json_t *ip_ranges; /* the ipRanges capability's value, or null */

        struct network_shared *shared;
};

/* ---- the cache (network_pod.c): to be called through task_offload ---- */

struct network_cache_call {
        const char *directory;
        const char *network_name; /* null: all networks */
        const char *container_id; /* null: all containers */
        struct cni_cache_entry *entry;
        struct cni_cache_entry *entries;
        size_t count, unread;
        struct error *err;
};

int network_cache_list(void *call);

/* Whether CNI takes the pod's id. */
int network_check_id(const struct network_pod *pod, struct error *err);

/* DEL with what the cache tells; the entry goes when all plugins have succeeded. Task only. */
int network_free_entry(struct network *network, struct cni_cache_entry *entry, const char *netns,
                       struct error *err);

#endif
