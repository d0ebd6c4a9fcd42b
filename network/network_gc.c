/* What is with the plugins beside pods' coming and going: checking and collecting. */
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "network/cni.h"
#include "network/cni_cache.h"
#include "network/hostport.h"
#include "network/network_internal.h"

#define GC_TIMEOUT (10 * NSEC_PER_SEC) /* pods that come meanwhile wait for as long */

int network_check(struct network *network, const struct network_pod *pod, struct error *err)
{
        struct network_cache_call call = {
                .directory = network->cache_dir, .container_id = pod->id, .err = err};
        int status = network_check_id(pod, err);
        if (status == 0)
                status = task_offload(network_cache_list, &call);
        if (status < 0)
                return status;
        if (call.count == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "no cached result tells how pod %s was connected", pod->id);
        for (size_t i = 0; status == 0 && i < call.count; i++) {
                struct cni_cache_entry *entry = &call.entries[i];
                if (!entry->network || entry->network->version < CNI_0_4_0)
                        continue;
                struct cni_attachment attachment = {
                        .container_id = entry->container_id,
                        .netns = pod->netns,
                        .interface = entry->interface,
                        .args = entry->args,
                        .capability_args = entry->capability_args,
                };
                status = cni_check(network->plugin_dirs, entry->network, &attachment, entry->result,
                                   clock_after(network->timeout), err);
        }
        cni_cache_free(call.entries, call.count);
        return status;
}

static bool is_valid(const char *id, char *const *valid)
{
        for (; valid && *valid; valid++)
                if (strcmp(*valid, id) == 0)
                        return true;
        return false;
}

static bool is_ours(const struct network *network, const struct cni_cache_entry *entry)
{
        return entry->owner && network->owner && strcmp(entry->owner, network->owner) == 0;
}

/* Whether an entry may be freed: no pod of the caller's, and none that came after he made his list.
 */
static bool is_stale(const struct network *network, const struct cni_cache_entry *entry,
                     char *const *valid)
{
        return !is_valid(entry->container_id, valid) &&
               !table_get(network->shared->spared, entry->container_id);
}

static bool has_entry(const struct network_cache_call *call, const char *id)
{
        for (size_t i = 0; i < call->count; i++)
                if (strcmp(call->entries[i].container_id, id) == 0)
                        return true;
        return false;
}

static void add_attachment(json_t *attachments, const char *id, const char *interface)
{
        json_array_append_new(attachments,
                              json_pack("{s:s, s:s}", "containerID", id, "ifname", interface));
}

/* What plugins must keep; false where the network is not ours alone. */
static bool list_valid(const struct network *network, const struct network_cache_call *call,
                       char *const *valid, json_t *attachments)
{
        /* Whose those are that cannot be read, nobody knows. */
        if (call->unread)
                return false;
        for (size_t i = 0; i < call->count; i++) {
                const struct cni_cache_entry *entry = &call->entries[i];
                if (!is_ours(network, entry))
                        return false;
                if (!is_stale(network, entry, valid))
                        add_attachment(attachments, entry->container_id, entry->interface);
        }
        /* A pod keeps its address also where its entry was lost. */
        for (; valid && *valid; valid++)
                if (!has_entry(call, *valid))
                        add_attachment(attachments, *valid, NETWORK_INTERFACE);
        return true;
}

/* GC to the plugins, which free all that they are not told of: so nobody may be connected
 * meanwhile. */
static int collect_in_plugins(struct network *network, char *const *valid, struct error *err)
{
        if (!network->config.network || network->config.network->version < CNI_1_1_0 ||
            table_size(network->shared->attaching))
                return 0;
        AUTO_CNI_NETWORK struct cni_network *config = cni_network_ref(network->config.network);
        AUTO_JSON json_t *attachments = json_array();
        struct network_cache_call call = {
                .directory = network->cache_dir, .network_name = config->name, .err = err};
        network->shared->collecting = true;
        int status = task_offload(network_cache_list, &call);
        if (call.unread)
                log_warning("the network's plugins are not asked to collect: the cache has files "
                            "that cannot be read",
                            "network", config->name, "folder", network->cache_dir, NULL);
        if (status == 0 && list_valid(network, &call, valid, attachments))
                status = cni_gc(network->plugin_dirs, config, attachments, clock_after(GC_TIMEOUT),
                                err);
        cni_cache_free(call.entries, call.count);
        network->shared->collecting = false;
        event_signal(&network->shared->collected);
        return status;
}

/* Frees the entries of pods that are gone. Goes on after a failure. */
static int free_stale(struct network *network, char *const *valid, struct error *err)
{
        struct network_cache_call call = {.directory = network->cache_dir, .err = err};
        int first = task_offload(network_cache_list, &call);
        for (size_t i = 0; i < call.count; i++) {
                struct cni_cache_entry *entry = &call.entries[i];
                if (!is_ours(network, entry) || !is_stale(network, entry, valid))
                        continue;
                log_info("freeing the network of a pod that is gone", "pod", entry->container_id,
                         "network", entry->network_name, NULL);
                int status = network_free_entry(network, entry, NULL, first ? NULL : err);
                if (status < 0 && !first)
                        first = status;
        }
        cni_cache_free(call.entries, call.count);
        return first;
}

struct keep {
        const struct network *network;
        char *const *valid;
};

static bool is_kept(void *argument, const char *id)
{
        const struct keep *keep = argument;
        return is_valid(id, keep->valid) || table_get(keep->network->shared->spared, id);
}

static void sweep_rules(struct keep *keep)
{
        struct error err = {0};
        if (hostport_sweep(keep->network->owner, is_kept, keep, &err) < 0)
                log_failure(&err, "removing the host ports of pods that are gone", NULL);
}

int network_gc(struct network *network, char *const *valid, struct error *err)
{
        if (!network->owner)
                return 0;
        if (network->shared->spared)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the network's collection is under way already");
        const char *id;
        size_t cursor = 0;
        network->shared->spared = table_new();
        while (table_next(network->shared->attaching, &cursor, &id))
                table_put(network->shared->spared, id, network);
        struct keep keep = {.network = network, .valid = valid};
        if (network->hostports)
                sweep_rules(&keep);
        int first = free_stale(network, valid, err);
        int status = collect_in_plugins(network, valid, first ? NULL : err);
        table_free(network->shared->spared);
        network->shared->spared = NULL;
        return first ? first : status;
}
