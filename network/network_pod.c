/* A pod and the network: connecting, freeing, checking, collecting. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "network/cni.h"
#include "network/cni_cache.h"
#include "network/cni_result.h"
#include "network/namespace.h"
#include "network/network_internal.h"

#define PORT_MAX  65535
#define PORTS_MAX 65536
#define BURST                                                                                      \
        UINT32_MAX /* bits; the bandwidth plugin's bound is on bytes, so any pod may send this at  \
                      once */
#define ID_MAX                 128
#define GC_TIMEOUT             (10 * NSEC_PER_SEC) /* pods that come meanwhile wait for as long */
#define CAPABILITY_ANNOTATIONS "io.kubernetes.cri.pod-annotations"

void network_result_fini(struct network_result *result)
{
        strv_free(result->ips);
        free(result->text);
        *result = (struct network_result){0};
}

/* ---- what plugins are told of the pod ---- */

static int add_arg(struct buffer *args, const char *key, const char *value, struct error *err)
{
        if (!value || !*value)
                return 0;
        if (strpbrk(value, ";="))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "\"%.128s\" cannot be told to CNI plugins as %s: it has ; or =",
                                 value, key);
        buffer_printf(args, ";%s=%s", key, value);
        return 0;
}

static int make_args(const struct network_pod *pod, char **args, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        buffer_add_text(&text, "IgnoreUnknown=1");
        int result = add_arg(&text, "K8S_POD_NAMESPACE", pod->namespace_, err);
        if (result == 0)
                result = add_arg(&text, "K8S_POD_NAME", pod->name, err);
        if (result == 0)
                result = add_arg(&text, "K8S_POD_INFRA_CONTAINER_ID", pod->id, err);
        if (result == 0)
                result = add_arg(&text, "K8S_POD_UID", pod->uid, err);
        if (result < 0)
                return result;
        *args = buffer_take(&text);
        return 0;
}

static json_t *port_mappings(const struct network_pod *pod)
{
        json_t *list = json_array();
        for (size_t i = 0; i < pod->port_count; i++) {
                const struct network_port *port = &pod->ports[i];
                if (port->host_port == 0)
                        continue;
                json_t *mapping = json_pack("{s:i, s:i, s:s}", "hostPort", (int)port->host_port,
                                            "containerPort", (int)port->container_port, "protocol",
                                            port->protocol);
                if (port->host_ip && *port->host_ip)
                        json_object_set_new(mapping, "hostIP", json_string(port->host_ip));
                json_array_append_new(list, mapping);
        }
        return list;
}

static json_t *strings(char *const *vector)
{
        json_t *list = json_array();
        for (; vector && *vector; vector++)
                json_array_append_new(list, json_string(*vector));
        return list;
}

/* Puts value in unless it is empty; takes the reference. */
static void put(json_t *object, const char *key, json_t *value)
{
        if (json_object_size(value) || json_array_size(value) || json_is_string(value))
                json_object_set_new(object, key, value);
        else
                json_decref(value);
}

static json_t *make_capability_args(const struct network *network, const struct network_pod *pod)
{
        json_t *args = json_object();
        put(args, "portMappings", port_mappings(pod));
        json_t *bandwidth = json_object();
        if (pod->ingress_rate) {
                json_object_set_new(bandwidth, "ingressRate",
                                    json_integer((json_int_t)pod->ingress_rate));
                json_object_set_new(bandwidth, "ingressBurst", json_integer(BURST));
        }
        if (pod->egress_rate) {
                json_object_set_new(bandwidth, "egressRate",
                                    json_integer((json_int_t)pod->egress_rate));
                json_object_set_new(bandwidth, "egressBurst", json_integer(BURST));
        }
        put(args, "bandwidth", bandwidth);
        json_t *dns = json_object();
        put(dns, "servers", strings(pod->dns_servers));
        put(dns, "searches", strings(pod->dns_searches));
        put(dns, "options", strings(pod->dns_options));
        put(args, "dns", dns);
        if (json_array_size(network->ip_ranges))
                json_object_set(args, "ipRanges", network->ip_ranges);
        if (pod->cgroup_path && *pod->cgroup_path)
                put(args, "cgroupPath", json_string(pod->cgroup_path));
        json_t *annotations = json_object();
        for (size_t i = 0; i < pod->annotation_count; i++)
                json_object_set_new(annotations, pod->annotations[i].key,
                                    json_string(pod->annotations[i].value));
        put(args, CAPABILITY_ANNOTATIONS, annotations);
        return args;
}

static int check_id(const struct network_pod *pod, struct error *err)
{
        static const char letters[] =
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
        size_t length = pod->id ? strlen(pod->id) : 0;
        if (length == 0 || length > ID_MAX || strspn(pod->id, letters) != length ||
            strchr("_.-", pod->id[0]))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "\"%.64s\" is no pod id that CNI takes", pod->id ? pod->id : "");
        return 0;
}

static int check_ports(const struct network_pod *pod, const struct cni_network *config,
                       struct error *err)
{
        bool any = false;
        if (pod->port_count > PORTS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%zu ports: more than %d",
                                 pod->port_count, PORTS_MAX);
        for (size_t i = 0; i < pod->port_count; i++) {
                const struct network_port *port = &pod->ports[i];
                if (port->host_port == 0)
                        continue;
                any = true;
                if (port->host_port < 0 || port->host_port > PORT_MAX || port->container_port < 1 ||
                    port->container_port > PORT_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "host port %d to container port %d: ports are 1 to %d",
                                         (int)port->host_port, (int)port->container_port, PORT_MAX);
                if (!port->protocol ||
                    (strcmp(port->protocol, "tcp") != 0 && strcmp(port->protocol, "udp") != 0 &&
                     strcmp(port->protocol, "sctp") != 0))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "host port %d: protocol \"%.16s\" is not tcp, udp or sctp",
                                         (int)port->host_port,
                                         port->protocol ? port->protocol : "");
        }
        if (any && !cni_network_has_capability(config, "portMappings"))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the pod asks for host ports, and network %s (%s) has no plugin "
                                 "with the capability portMappings: add the portmap plugin to it",
                                 config->name, config->file);
        return 0;
}

/* ---- the cache, on workers ---- */

struct cache_call {
        const char *directory;
        const char *network_name; /* null: all networks */
        const char *container_id; /* null: all containers */
        struct cni_cache_entry *entry;
        struct cni_cache_entry *entries;
        size_t count, unread;
        struct error *err;
};

static int write_on_worker(void *argument)
{
        struct cache_call *call = argument;
        return cni_cache_write(call->directory, call->entry, call->err);
}

static int remove_on_worker(void *argument)
{
        struct cache_call *call = argument;
        return cni_cache_remove(call->entry, call->err);
}

static int list_on_worker(void *argument)
{
        struct cache_call *call = argument;
        return cni_cache_list(call->directory, call->network_name, call->container_id,
                              &call->entries, &call->count, &call->unread, call->err);
}

/* ---- freeing ---- */

/* The namespace's path as plugins want it: null when nothing is there any more. */
static const char *living_netns(const char *netns)
{
        return netns && *netns && namespace_is_pinned(netns) ? netns : NULL;
}

/* DEL with what the cache tells; the entry goes when all plugins have succeeded. */
static int free_entry(struct network *network, struct cni_cache_entry *entry, const char *netns,
                      struct error *err)
{
        struct cni_network *config = entry->network;
        if (!config && network->config.network &&
            strcmp(network->config.network->name, entry->network_name) == 0)
                config = network->config.network;
        if (config) {
                AUTO_CNI_NETWORK struct cni_network *held = cni_network_ref(config);
                struct cni_attachment attachment = {
                        .container_id = entry->container_id,
                        .netns = living_netns(netns ? netns : entry->netns),
                        .interface = entry->interface,
                        .args = entry->args,
                        .capability_args = entry->capability_args,
                };
                int result = cni_del(network->plugin_dirs, held, &attachment, entry->result,
                                     clock_after(network->timeout), err);
                if (result < 0)
                        return result;
        } else {
                log_warning("nothing tells how to free a pod's network: its configuration is gone",
                            "pod", entry->container_id, "network", entry->network_name, NULL);
        }
        struct cache_call call = {.entry = entry, .err = err};
        return task_offload(remove_on_worker, &call);
}

/* Without a cache entry: as the network is configured now. */
static int free_uncached(struct network *network, const struct network_pod *pod, struct error *err)
{
        if (!network->config.network) {
                log_warning("nothing tells how to free a pod's network: there is neither a cached "
                            "result nor a configuration",
                            "pod", pod->id, NULL);
                return 0;
        }
        AUTO_CNI_NETWORK struct cni_network *config = cni_network_ref(network->config.network);
        struct error missing = {0};
        /* The intent is in the cache before ADD: without it, and without the program, nothing was
         * begun. */
        if (cni_check_plugins(network->plugin_dirs, config, &missing) < 0) {
                log_failure(&missing, "nothing is freed in the network", "pod", pod->id, NULL);
                return 0;
        }
        AUTO_FREE char *args = NULL;
        AUTO_JSON json_t *capability_args = make_capability_args(network, pod);
        /* What could not be told to ADD is not told to DEL either. */
        if (make_args(pod, &args, NULL) < 0)
                args = xstrdup("IgnoreUnknown=1");
        struct cni_attachment attachment = {
                .container_id = pod->id,
                .netns = living_netns(pod->netns),
                .interface = NETWORK_INTERFACE,
                .args = args,
                .capability_args = capability_args,
        };
        return cni_del(network->plugin_dirs, config, &attachment, NULL,
                       clock_after(network->timeout), err);
}

static int detach(struct network *network, const struct network_pod *pod, struct error *err)
{
        struct cache_call call = {
                .directory = network->cache_dir, .container_id = pod->id, .err = err};
        int result = task_offload(list_on_worker, &call);
        if (result < 0)
                return result;
        if (call.count == 0)
                return free_uncached(network, pod, err);
        int first = 0;
        for (size_t i = 0; i < call.count; i++) {
                result = free_entry(network, &call.entries[i], pod->netns, first ? NULL : err);
                if (result < 0 && !first)
                        first = result;
        }
        cni_cache_free(call.entries, call.count);
        return first;
}

int network_detach(struct network *network, const struct network_pod *pod, struct error *err)
{
        int result = check_id(pod, err);
        return result == 0 ? detach(network, pod, err) : result;
}

/* ---- connecting ---- */

static int attach_to(struct network *network, const struct cni_network *config,
                     const struct network_pod *pod, struct cni_cache_entry *entry,
                     struct network_result *result, struct error *err)
{
        struct cni_attachment attachment = {
                .container_id = pod->id,
                .netns = pod->netns,
                .interface = NETWORK_INTERFACE,
                .args = entry->args,
                .capability_args = entry->capability_args,
        };
        struct cache_call call = {.directory = network->cache_dir, .entry = entry, .err = err};
        char **ips = NULL;
        int status = cni_add(network->plugin_dirs, config, &attachment,
                             clock_after(network->timeout), &entry->result, err);
        if (status == 0)
                status = cni_result_ips(entry->result, NETWORK_INTERFACE, &ips, err);
        if (status == 0 && !ips)
                status = error_set(err, ERROR_INTERNAL, "the plugins gave the pod no IP address");
        if (status == 0)
                status = task_offload(write_on_worker, &call);
        if (status < 0) {
                strv_free(ips);
                return status;
        }
        *result = (struct network_result){
                .ips = ips, .count = strv_length(ips), .text = json_text(entry->result)};
        return 0;
}

static int attach(struct network *network, const struct network_pod *pod,
                  struct network_result *result, struct error *err)
{
        char reason[NETWORK_REASON_MAX];
        bool ready;
        if (!network->config.network) {
                network_status(network, &ready, reason);
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s", reason);
        }
        AUTO_CNI_NETWORK struct cni_network *config = cni_network_ref(network->config.network);
        AUTO_FREE char *args = NULL;
        AUTO_JSON json_t *capability_args = make_capability_args(network, pod);
        int status = check_ports(pod, config, err);
        if (status == 0)
                status = make_args(pod, &args, err);
        /* Before anything is begun: what cannot be called for ADD cannot be for DEL either. */
        if (status == 0)
                status = cni_check_plugins(network->plugin_dirs, config, err);
        if (status < 0)
                return status;
        /*
         * The intent comes first: were the daemon killed during ADD, and the configuration changed
         * before it is back, the pod could not be freed otherwise.
         */
        struct cni_cache_entry entry = {
                .container_id = (char *)pod->id,
                .network_name = (char *)config->name,
                .interface = (char *)NETWORK_INTERFACE,
                .netns = (char *)pod->netns,
                .args = args,
                .owner = network->owner,
                .network = config,
                .capability_args = capability_args,
        };
        struct cache_call call = {.directory = network->cache_dir, .entry = &entry, .err = err};
        status = task_offload(write_on_worker, &call);
        if (status < 0)
                return status;
        status = attach_to(network, config, pod, &entry, result, err);
        json_decref(entry.result);
        if (status < 0) {
                struct error failure = {0};
                if (detach(network, pod, &failure) < 0)
                        log_failure(&failure, "a failed pod's network is not freed yet", "pod",
                                    pod->id, NULL);
        }
        return status;
}

int network_attach(struct network *network, const struct network_pod *pod,
                   struct network_result *result, struct error *err)
{
        int status = check_id(pod, err);
        if (status < 0)
                return status;
        if (!pod->netns || !*pod->netns)
                return error_set(err, ERROR_INVALID_ARGUMENT, "pod %s has no network namespace",
                                 pod->id);
        while (network->collecting) {
                status = task_wait(&network->collected, CLOCK_NEVER);
                if (status < 0)
                        return error_errno(err, status, "wait for the network's collection");
        }
        table_put(network->attaching, pod->id, network);
        if (network->spared)
                table_put(network->spared, pod->id, network);
        status = attach(network, pod, result, err);
        table_remove(network->attaching, pod->id);
        return status;
}

/* ---- checking and collecting ---- */

int network_check(struct network *network, const struct network_pod *pod, struct error *err)
{
        struct cache_call call = {
                .directory = network->cache_dir, .container_id = pod->id, .err = err};
        int status = check_id(pod, err);
        if (status == 0)
                status = task_offload(list_on_worker, &call);
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
               !table_get(network->spared, entry->container_id);
}

static bool has_entry(const struct cache_call *call, const char *id)
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
static bool list_valid(const struct network *network, const struct cache_call *call,
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
            table_size(network->attaching))
                return 0;
        AUTO_CNI_NETWORK struct cni_network *config = cni_network_ref(network->config.network);
        AUTO_JSON json_t *attachments = json_array();
        struct cache_call call = {
                .directory = network->cache_dir, .network_name = config->name, .err = err};
        network->collecting = true;
        int status = task_offload(list_on_worker, &call);
        if (call.unread)
                log_warning("the network's plugins are not asked to collect: the cache has files "
                            "that cannot be read",
                            "network", config->name, "folder", network->cache_dir, NULL);
        if (status == 0 && list_valid(network, &call, valid, attachments))
                status = cni_gc(network->plugin_dirs, config, attachments, clock_after(GC_TIMEOUT),
                                err);
        cni_cache_free(call.entries, call.count);
        network->collecting = false;
        event_signal(&network->collected);
        return status;
}

/* Frees the entries of pods that are gone. Goes on after a failure. */
static int free_stale(struct network *network, char *const *valid, struct error *err)
{
        struct cache_call call = {.directory = network->cache_dir, .err = err};
        int first = task_offload(list_on_worker, &call);
        for (size_t i = 0; i < call.count; i++) {
                struct cni_cache_entry *entry = &call.entries[i];
                if (!is_ours(network, entry) || !is_stale(network, entry, valid))
                        continue;
                log_info("freeing the network of a pod that is gone", "pod", entry->container_id,
                         "network", entry->network_name, NULL);
                int status = free_entry(network, entry, NULL, first ? NULL : err);
                if (status < 0 && !first)
                        first = status;
        }
        cni_cache_free(call.entries, call.count);
        return first;
}

int network_gc(struct network *network, char *const *valid, struct error *err)
{
        if (!network->owner)
                return 0;
        if (network->spared)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the network's collection is under way already");
        const char *id;
        size_t cursor = 0;
        network->spared = table_new();
        while (table_next(network->attaching, &cursor, &id))
                table_put(network->spared, id, network);
        int first = free_stale(network, valid, err);
        int status = collect_in_plugins(network, valid, first ? NULL : err);
        table_free(network->spared);
        network->spared = NULL;
        return first ? first : status;
}
