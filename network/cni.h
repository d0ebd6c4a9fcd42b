/*
 * cni: running the plugins of a network.
 *
 * A plugin is a program that reads its configuration on stdin, is told by its environment what to
 * do for which container, and prints JSON. What it prints is a stranger's. Task only, unless a
 * function says otherwise; files are read and written on workers.
 */
#ifndef CRISP_NETWORK_CNI_H
#define CRISP_NETWORK_CNI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "network/cni_config.h"

#define CNI_OUTPUT_MAX (1024 * 1024) /* bytes kept of a plugin's stdout */
#define CNI_ERRORS_MAX (16 * 1024)   /* and of its stderr */

/* Whether a plugin's program is in one of the folders. Blocks, any thread: no task is needed. */
bool cni_plugin_is_there(char *const *plugin_dirs, const char *type);

/* Whether all of a network's plugins are there: FAILED_PRECONDITION naming the first that is not.
 */
int cni_check_plugins(char *const *plugin_dirs, const struct cni_network *network,
                      struct error *err);

/* One container's attachment to one network. Borrowed. */
struct cni_attachment {
        const char *container_id;
        const char *netns;             /* null or empty when it has gone */
        const char *interface;         /* CNI_IFNAME */
        const char *args;              /* CNI_ARGS: "KEY=value;KEY=value", or null */
        const json_t *capability_args; /* object: capability to value, or null */
};

/*
 * ADD through the chain, each plugin with its forerunner's result. *result (a new reference) is the
 * last one's. The result is cached before this returns. deadline (monotonic ns) is that of the
 * whole chain. After a failure the plugins that ran, and the failed one, may have left things: the
 * caller calls cni_del.
 */
int cni_add(char *const *plugin_dirs, const struct cni_network *network,
            const struct cni_attachment *attachment, int64_t deadline, json_t **result,
            struct error *err);

/*
 * DEL through the chain from its end, with previous (or null) as prevResult where the version has
 * it. A plugin that fails or hangs does not keep the others from being called: each has its share
 * of the time until the deadline. The first failure is returned. Does not touch the cache.
 */
int cni_del(char *const *plugin_dirs, const struct cni_network *network,
            const struct cni_attachment *attachment, const json_t *previous, int64_t deadline,
            struct error *err);

/* CHECK through the chain. UNIMPLEMENTED before 0.4.0; success where the network disables it. */
int cni_check(char *const *plugin_dirs, const struct cni_network *network,
              const struct cni_attachment *attachment, const json_t *previous, int64_t deadline,
              struct error *err);

/* STATUS of each plugin that speaks 1.1.0, where the network's version is 1.1.0; else success. */
int cni_status(char *const *plugin_dirs, const struct cni_network *network, int64_t deadline,
               struct error *err);

/* GC likewise. valid is an array of {"containerID", "ifname"}. Success where the network disables
 * it. */
int cni_gc(char *const *plugin_dirs, const struct cni_network *network, const json_t *valid,
           int64_t deadline, struct error *err);

/* Asks a plugin for the versions it speaks (VERSION): *supported is a new array of strings. */
int cni_plugin_versions(char *const *plugin_dirs, const char *type, int64_t deadline,
                        json_t **supported, struct error *err);

#endif
