/*
 * network_internal: what network.c (the configuration) and network_pod.c (the pods) share.
 */
#ifndef CRISP_NETWORK_NETWORK_INTERNAL_H
#define CRISP_NETWORK_NETWORK_INTERNAL_H

#include <jansson.h>

#include "base/table.h"
#include "base/task.h"
#include "network/cni_config.h"
#include "network/network.h"
#include "network/network_watch.h"

struct network {
        char *config_dir;
        char **plugin_dirs;
        char *cache_dir;
        char *owner; /* or null */
        int64_t timeout;

        /* The configuration as last read. */
        struct network_watch *watch;
        struct cni_config config;
        char *load_problem; /* why the folder could not be read, or null */
        bool loading, load_again;

        /* What its plugins say of themselves. */
        char *plugin_problem; /* why pods cannot be connected, or null */
        bool probing;
        struct timer *probe_timer;

        json_t *ip_ranges; /* the ipRanges capability's value, or null */

        /* Pods that are being connected: by id, the values are of no meaning. */
        struct table *attaching;
        struct table *spared; /* null unless network_gc runs: those connected since it began */
        bool collecting;      /* plugins are freeing all that they are not told of */
        struct event collected;
};

#endif
