#include "cri/pod_network.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/lookup.h"
#include "network/namespace.h"
#include "network/network.h"

#define INGRESS_ANNOTATION "kubernetes.io/ingress-bandwidth"
#define EGRESS_ANNOTATION  "kubernetes.io/egress-bandwidth"

/* What network/ wants to know of a pod; what it points to lives in the arena or the pod. */
static void describe(const struct pod *pod, struct arena *arena, struct network_pod *described)
{
        const Runtime__V1__PodSandboxMetadata *metadata = pod_config(pod)->metadata;
        AUTO_FREE char *netns = pod_namespace_path(pod, "net");
        *described = (struct network_pod){
                .id = pod->id,
                .name = metadata->name,
                .namespace_ = metadata->namespace_,
                .uid = metadata->uid,
                .netns = namespace_is_pinned(netns) ? arena_strdup(arena, netns) : NULL,
        };
}

static void add_ports(const struct pod *pod, struct arena *arena, struct network_pod *described)
{
        static const char *const protocols[] = {"tcp", "udp", "sctp"};
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        struct network_port *ports = arena_array(arena, config->n_port_mappings, sizeof *ports);
        for (size_t i = 0; i < config->n_port_mappings; i++) {
                const Runtime__V1__PortMapping *from = config->port_mappings[i];
                ports[i] = (struct network_port){
                        .protocol = from->protocol <= RUNTIME__V1__PROTOCOL__SCTP
                                            ? protocols[from->protocol]
                                            : "unknown",
                        .host_ip = from->host_ip,
                        .container_port = from->container_port,
                        .host_port = from->host_port,
                };
        }
        described->ports = ports;
        described->port_count = config->n_port_mappings;
}

static char **vector(struct arena *arena, char **strings, size_t count)
{
        char **copy = arena_array(arena, count + 1, sizeof *copy);
        for (size_t i = 0; i < count; i++)
                copy[i] = strings[i];
        return copy;
}

static int rate_of(const struct pod *pod, const char *annotation, uint64_t *rate, struct error *err)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        const char *text = lookup_value(config->annotations, config->n_annotations, annotation);
        if (!text)
                return 0;
        int result = network_parse_bandwidth(text, rate, err);
        return result < 0 ? error_context(err, "annotation %s", annotation) : 0;
}

static void add_annotations(const struct pod *pod, struct arena *arena,
                            struct network_pod *described)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        struct network_annotation *annotations =
                arena_array(arena, config->n_annotations, sizeof *annotations);
        for (size_t i = 0; i < config->n_annotations; i++)
                annotations[i] = (struct network_annotation){config->annotations[i]->key,
                                                             config->annotations[i]->value};
        described->annotations = annotations;
        described->annotation_count = config->n_annotations;
}

/* Its handler's, where that has one of its own. */
static struct network *pod_network(const struct pod *pod)
{
        const struct config_handler *handler = annotation_handler(pod);
        struct network *own =
                handler ? table_get(node.handler_networks, handler->cni_conf_dir) : NULL;
        return own ? own : node.network;
}

int pod_network_wait(const struct pod *pod, struct error *err)
{
        return network_wait(pod_network(pod), err);
}

int pod_network_attach(struct pod *pod, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct network_pod described;
        describe(pod, arena, &described);
        add_ports(pod, arena, &described);
        add_annotations(pod, arena, &described);
        described.cgroup_path = pod_cgroup_parent(pod);
        const Runtime__V1__DNSConfig *dns = pod_config(pod)->dns_config;
        if (dns) {
                described.dns_servers = vector(arena, dns->servers, dns->n_servers);
                described.dns_searches = vector(arena, dns->searches, dns->n_searches);
                described.dns_options = vector(arena, dns->options, dns->n_options);
        }
        int result = rate_of(pod, INGRESS_ANNOTATION, &described.ingress_rate, err);
        if (result == 0)
                result = rate_of(pod, EGRESS_ANNOTATION, &described.egress_rate, err);
        if (result < 0)
                return result;
        struct network_result attached = {0};
        result = network_attach(pod_network(pod), &described, &attached, err);
        if (result < 0)
                return result;
        strv_free(pod->ips);
        pod->ips = take_ptr(attached.ips);
        network_result_fini(&attached);
        return 0;
}

int pod_network_detach(struct pod *pod, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct network_pod described;
        describe(pod, arena, &described);
        add_ports(pod, arena, &described);
        return network_detach(pod_network(pod), &described, err);
}
