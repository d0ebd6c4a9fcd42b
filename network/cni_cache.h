/*
 * cni_cache: what was set up for whom, in the files that libcni keeps.
 *
 * DIRECTORY/results/NETWORK-CONTAINER-INTERFACE holds the configuration and the result of an ADD,
 * so that DEL can be called with them whatever became of the configuration since. The format is
 * libcni's cniCacheV1: other programs read it, and another runtime's entries lie beside ours.
 * Blocks: from a task through task_offload.
 */
#ifndef CRISP_NETWORK_CNI_CACHE_H
#define CRISP_NETWORK_CNI_CACHE_H

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "network/cni_config.h"

#define CNI_CACHE_FILE_MAX    (4 * 1024 * 1024) /* bytes of one entry */
#define CNI_CACHE_ENTRIES_MAX 65536             /* files that one list looks at */

struct cni_cache_entry {
        char *path;
        char *container_id;
        char *network_name;
        char *interface;
        char *netns;                 /* null when it is not told */
        char *args;                  /* CNI_ARGS, or null */
        char *owner;                 /* who wrote it, null for other runtimes */
        struct cni_network *network; /* its configuration of then; null where it cannot be read */
        json_t *capability_args;     /* or null */
        json_t *result;              /* or null: the ADD has not ended */
};

/*
 * Writes an entry of a network that is parsed from config's json. result is null before ADD: so
 * that after a crash DEL knows what was begun. Volatile: what it describes does not outlive a
 * reboot either, except leases, which the last entry still tells of.
 */
int cni_cache_write(const char *directory, const struct cni_cache_entry *entry, struct error *err);

/* Not there is fine. */
int cni_cache_remove(const struct cni_cache_entry *entry, struct error *err);

/*
 * The entries of a container, or of all containers where container_id is null, by network_name
 * unless that is null. Files that are no entries are skipped; *unread (may be null) counts those
 * whose names say that they could be what is asked for: other runtimes' older forms, or damaged.
 * More than CNI_CACHE_ENTRIES_MAX are RESOURCE_EXHAUSTED. *entries is a heap array; free with
 * cni_cache_free.
 */
int cni_cache_list(const char *directory, const char *network_name, const char *container_id,
                   struct cni_cache_entry **entries, size_t *count, size_t *unread,
                   struct error *err);
void cni_cache_free(struct cni_cache_entry *entries, size_t count);

#endif
