/* A pod and the network: connecting and freeing. */
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
#include "network/hostport.h"
#include "network/namespace.h"
#include "network/network_internal.h"

#define PORT_MAX  65535
#define PORTS_MAX 65536
#define BURST                                                                                      \
        UINT32_MAX /* bits; the bandwidth plugin's bound is on bytes, so any pod may send this at  \
                      once */
#define ID_MAX                 128
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

int network_check_id(const struct network_pod *pod, struct error *err)
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

static int check_ports(const struct network_pod *pod, struct error *err)
{
        if (pod->port_count > PORTS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%zu ports: more than %d",
                                 pod->port_count, PORTS_MAX);
        for (size_t i = 0; i < pod->port_count; i++) {
                const struct network_port *port = &pod->ports[i];
                if (port->host_port == 0)
                        continue;
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
        return 0;
}

/* ---- the cache, on workers ---- */

static int write_on_worker(void *argument)
{
        struct network_cache_call *call = argument;
        return cni_cache_write(call->directory, call->entry, call->err);
}

static int remove_on_worker(void *argument)
{
        struct network_cache_call *call = argument;
        return cni_cache_remove(call->entry, call->err);
}

int network_cache_list(void *argument)
{
        struct network_cache_call *call = argument;
        return cni_cache_list(call->directory, call->network_name, call->container_id,
                              &call->entries, &call->count, &call->unread, call->err);
}

/* ---- freeing ---- */

/* Those that pods get: the default one, then the others. */
static size_t network_count(const struct network *network)
{
        return network->config.network ? 1 + network->config.other_count : 0;
}

static struct cni_network *network_at(const struct network *network, size_t index)
{
        return index == 0 ? network->config.network : network->config.others[index - 1];
}

/* The namespace's path as plugins want it: null when nothing is there any more. */
static const char *living_netns(const char *netns)
{
        return netns && *netns && namespace_is_pinned(netns) ? netns : NULL;
}

/* DEL with what the cache tells; the entry goes when all plugins have succeeded. */
int network_free_entry(struct network *network, struct cni_cache_entry *entry, const char *netns,
                       struct error *err)
{
        struct cni_network *config = entry->network;
        for (size_t i = 0; !config && i < network_count(network); i++)
                if (strcmp(network_at(network, i)->name, entry->network_name) == 0)
                        config = network_at(network, i);
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
        struct network_cache_call call = {.entry = entry, .err = err};
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

static int free_all(struct network *network, const struct network_pod *pod, struct error *err)
{
        struct network_cache_call call = {
                .directory = network->cache_dir, .container_id = pod->id, .err = err};
        int result = task_offload(network_cache_list, &call);
        if (result < 0)
                return result;
        if (call.count == 0)
                return free_uncached(network, pod, err);
        int first = 0;
        for (size_t i = 0; i < call.count; i++) {
                result = network_free_entry(network, &call.entries[i], pod->netns,
                                            first ? NULL : err);
                if (result < 0 && !first)
                        first = result;
        }
        cni_cache_free(call.entries, call.count);
        return first;
}

static bool wants_host_ports(const struct network_pod *pod)
{
        for (size_t i = 0; i < pod->port_count; i++)
                if (pod->ports[i].host_port)
                        return true;
        return false;
}

static struct hostport_pod describe_ports(const struct network *network,
                                          const struct network_pod *pod)
{
        return (struct hostport_pod){.owner = network->owner ? network->owner : "",
                                     .id = pod->id,
                                     .ports = pod->ports,
                                     .count = pod->port_count};
}

/* Rules first: what comes to a host port must not reach the next one who gets the address. */
static int detach(struct network *network, const struct network_pod *pod, struct error *err)
{
        struct hostport_pod mapped = describe_ports(network, pod);
        int first = wants_host_ports(pod) ? hostport_remove(&mapped, err) : 0;
        int result = free_all(network, pod, first ? NULL : err);
        return first ? first : result;
}

int network_detach(struct network *network, const struct network_pod *pod, struct error *err)
{
        int result = network_check_id(pod, err);
        return result == 0 ? detach(network, pod, err) : result;
}

/* ---- connecting ---- */

/* One network; ips is untouched where the interface gets none. */
static int attach_to(struct network *network, const struct cni_network *config,
                     const struct network_pod *pod, struct cni_cache_entry *entry, char ***ips,
                     struct error *err)
{
        struct cni_attachment attachment = {
                .container_id = pod->id,
                .netns = pod->netns,
                .interface = entry->interface,
                .args = entry->args,
                .capability_args = entry->capability_args,
        };
        struct network_cache_call call = {
                .directory = network->cache_dir, .entry = entry, .err = err};
        char **found = NULL;
        int status = cni_add(network->plugin_dirs, config, &attachment,
                             clock_after(network->timeout), &entry->result, err);
        if (status == 0)
                status = cni_result_ips(entry->result, entry->interface, &found, err);
        if (status == 0)
                status = task_offload(write_on_worker, &call);
        if (status < 0) {
                strv_free(found);
                return status;
        }
        *ips = found;
        return 0;
}

/* The intent comes first: were the daemon killed during ADD, and the configuration changed before
 * it is back, the pod could not be freed otherwise. */
static int attach_with_intent(struct network *network, struct cni_network *config,
                              const struct network_pod *pod, struct cni_cache_entry *entry,
                              char ***ips, struct error *err)
{
        struct network_cache_call call = {
                .directory = network->cache_dir, .entry = entry, .err = err};
        int status = task_offload(write_on_worker, &call);
        return status < 0 ? status : attach_to(network, config, pod, entry, ips, err);
}

/* To each of the networks, the default one first: only its result is the pod's. */
static int attach_all(struct network *network, struct cni_network **configs, size_t count,
                      const struct network_pod *pod, const char *args,
                      struct network_result *result, struct error *err)
{
        AUTO_JSON json_t *capability_args = make_capability_args(network, pod);
        int status = 0;
        for (size_t i = 0; status == 0 && i < count; i++) {
                AUTO_FREE char *interface = xprintf("eth%zu", i);
                char **ips = NULL;
                struct cni_cache_entry entry = {
                        .container_id = (char *)pod->id,
                        .network_name = (char *)configs[i]->name,
                        .interface = interface,
                        .netns = (char *)pod->netns,
                        .args = (char *)args,
                        .owner = network->owner,
                        .network = configs[i],
                        .capability_args = capability_args,
                };
                status = attach_with_intent(network, configs[i], pod, &entry, &ips, err);
                if (i == 0 && status == 0 && !ips)
                        status = error_set(err, ERROR_INTERNAL,
                                           "the plugins gave the pod no IP address");
                if (i == 0 && status == 0)
                        *result = (struct network_result){.ips = take_ptr(ips),
                                                          .text = json_text(entry.result)};
                strv_free(ips);
                json_decref(entry.result);
        }
        result->count = strv_length(result->ips);
        return status;
}

/* Puts the first address of the preferred kind before the others. */
static void prefer(enum network_preference preference, char **ips)
{
        if (preference == NETWORK_IP_AS_TOLD)
                return;
        size_t at = 0;
        while (ips[at] && !strchr(ips[at], ':') != (preference == NETWORK_IP_V4_FIRST))
                at++;
        char *first = ips[at];
        if (first) {
                memmove(ips + 1, ips, at * sizeof *ips);
                ips[0] = first;
        }
}

static int map_ports(const struct network *network, struct cni_network *const *configs,
                     size_t count, const struct network_pod *pod, char *const *ips,
                     struct error *err)
{
        if (!network->hostports || !wants_host_ports(pod))
                return 0;
        for (size_t i = 0; i < count; i++)
                if (cni_network_has_capability(configs[i], "portMappings"))
                        return 0;
        struct hostport_pod mapped = describe_ports(network, pod);
        return hostport_add(&mapped, ips, err);
}

static int attach_to_these(struct network *network, struct cni_network **configs, size_t count,
                           const struct network_pod *pod, struct network_result *result,
                           struct error *err)
{
        AUTO_FREE char *args = NULL;
        struct network_result attached = {0};
        int status = check_ports(pod, err);
        if (status == 0)
                status = make_args(pod, &args, err);
        /* Before anything is begun: what cannot be called for ADD cannot be for DEL either. */
        for (size_t i = 0; status == 0 && i < count; i++)
                status = cni_check_plugins(network->plugin_dirs, configs[i], err);
        if (status < 0)
                return status;
        status = attach_all(network, configs, count, pod, args, &attached, err);
        if (status == 0) {
                prefer(network->preference, attached.ips);
                status = map_ports(network, configs, count, pod, attached.ips, err);
        }
        if (status < 0) {
                struct error failure = {0};
                network_result_fini(&attached);
                if (detach(network, pod, &failure) < 0)
                        log_failure(&failure, "a failed pod's network is not freed yet", "pod",
                                    pod->id, NULL);
                return status;
        }
        *result = attached;
        return 0;
}

static int attach(struct network *network, const struct network_pod *pod,
                  struct network_result *result, struct error *err)
{
        char reason[NETWORK_REASON_MAX];
        bool ready;
        size_t count = network_count(network);
        if (count == 0) {
                network_status(network, &ready, reason);
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s", reason);
        }
        /* Held, as the configuration may change meanwhile. */
        struct cni_network *configs[CNI_CONFIG_NETWORKS_MAX];
        for (size_t i = 0; i < count; i++)
                configs[i] = cni_network_ref(network_at(network, i));
        int status = attach_to_these(network, configs, count, pod, result, err);
        for (size_t i = 0; i < count; i++)
                cni_network_unref(configs[i]);
        return status;
}

int network_attach(struct network *network, const struct network_pod *pod,
                   struct network_result *result, struct error *err)
{
        int status = network_check_id(pod, err);
        if (status < 0)
                return status;
        if (!pod->netns || !*pod->netns)
                return error_set(err, ERROR_INVALID_ARGUMENT, "pod %s has no network namespace",
                                 pod->id);
        while (network->shared->collecting) {
                status = task_wait(&network->shared->collected, CLOCK_NEVER);
                if (status < 0)
                        return error_errno(err, status, "wait for the network's collection");
        }
        table_put(network->shared->attaching, pod->id, network);
        if (network->shared->spared)
                table_put(network->shared->spared, pod->id, network);
        status = attach(network, pod, result, err);
        table_remove(network->shared->attaching, pod->id);
        return status;
}
