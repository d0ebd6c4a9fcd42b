/*
 * network: pods get addresses.
 *
 * Knows the default CNI network, keeps up with its configuration folder, and connects pods' network
 * namespaces to it by running CNI plugins. Belongs to the loop's thread. Operations on different
 * pods are independent: a plugin that hangs holds up its own pod until the deadline, and nothing
 * else. The caller sees to it that there is one operation at a time for one pod.
 */
#ifndef CRISP_NETWORK_NETWORK_H
#define CRISP_NETWORK_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define NETWORK_REASON_MAX    1024 /* bytes with the final zero */
#define NETWORK_CACHE_DIR     "/var/lib/cni"
#define NETWORK_IPS_MAX       32
#define NETWORK_INTERFACE     "eth0" /* the pod's interface */
#define NETWORK_TEMPLATE_FILE "10-crisp-net.conflist"

struct network;

/* Which of a pod's addresses is its first one, where it has both kinds. */
enum network_preference { NETWORK_IP_AS_TOLD, NETWORK_IP_V4_FIRST, NETWORK_IP_V6_FIRST };

struct network_options {
        const char *config_dir;
        char *const *plugin_dirs; /* searched in this order */
        const char *cache_dir;    /* results are kept in its subfolder results; null is
                                     NETWORK_CACHE_DIR */
        int64_t timeout;          /* ns for one run of the chain of plugins; 0 is a minute */
        const char *owner; /* names this daemon among those that share cache_dir (its state folder);
                              null: network_gc frees nothing */
        const char *default_network; /* its name; null or empty is the first by file name */
        unsigned max_networks;       /* of one pod; 0 is all that there are, at most
                                        CNI_CONFIG_NETWORKS_MAX */
        int64_t ready_timeout;       /* ns that network_wait waits */
        int64_t grace;               /* ns that plugins which were ready may say they are not */
        enum network_preference preference;
        bool hostports; /* host ports that no plugin maps are mapped here; else they are ignored */
        /* Another network of this daemon, whose pods network_gc must know of; or null. It is freed
         * after this one. */
        struct network *sibling;
};

/* Copies what it needs of the options. Does not touch the disk. */
struct network *network_new(const struct network_options *options);

/*
 * Reads the configuration and follows its folder from now on, whether it exists yet or not. After
 * loop_init; blocks for the first reading of a few small files, so call it before loop_run. Fails
 * only where the kernel gives no descriptor; broken configurations are a matter of network_status.
 */
int network_start(struct network *network, struct error *err);

/* Stops following. No task may be inside another function of this network any more. Null is
 * allowed. */
void network_free(struct network *network);

/*
 * Answers from memory. Where the network is not ready reason says why in words, and it may be told
 * of broken files also when it is ready; empty when there is nothing to say.
 */
void network_status(const struct network *network, bool *ready, char reason[NETWORK_REASON_MAX]);

/*
 * Waits until the network is ready, at most as long as the options say. FAILED_PRECONDITION with
 * the reason when it is not by then; 0 at once where the options say not to wait. Task only.
 */
int network_wait(struct network *network, struct error *err);

struct network_port {
        const char *protocol; /* "tcp", "udp" or "sctp" */
        const char *host_ip;  /* null or empty is every address */
        int32_t container_port;
        int32_t host_port; /* 0 is none: the entry is skipped */
};

struct network_annotation {
        const char *key;
        const char *value;
};

/* A pod as plugins see it. Everything is borrowed; strings may be null where they say so. */
struct network_pod {
        const char *id;         /* CNI_CONTAINERID */
        const char *name;       /* or null, also the next two */
        const char *namespace_; /* Kubernetes' */
        const char *uid;
        const char *netns; /* path of the pinned network namespace; null when it has gone */
        const struct network_port *ports;
        size_t port_count;
        uint64_t ingress_rate; /* bits a second, 0 is unlimited */
        uint64_t egress_rate;
        char *const *dns_servers; /* null-terminated, or null; also the next two */
        char *const *dns_searches;
        char *const *dns_options;
        const struct network_annotation *annotations;
        size_t annotation_count;
        const char *cgroup_path; /* or null */
};

struct network_result {
        char **ips; /* strv of addresses without prefix length, the first is the pod's own; never
                       empty */
        size_t count;
        char *text; /* the plugins' result as JSON, for people */
};

void network_result_fini(struct network_result *result);

/*
 * Connects the pod: ADD through the chain. Task only, waits. After a failure DEL has been tried for
 * the whole chain. result is filled on success, the caller calls network_result_fini. Interrupting
 * the task ends it with CANCELLED. Errors name network, plugin and command. Host ports that no
 * plugin with the portMappings capability maps are mapped by rules (hostport.h) for the first
 * address of each family. FAILED_PRECONDITION where there is no network; INVALID_ARGUMENT for a
 * malformed pod; DEADLINE_EXCEEDED for a hanging plugin.
 */
int network_attach(struct network *network, const struct network_pod *pod,
                   struct network_result *result, struct error *err);

/*
 * Frees what network_attach got: DEL in reverse, for every network that the cache knows this pod
 * in, with the configuration and result of then. Idempotent, and fine when the network namespace
 * has gone. Of the pod only id, names, netns and ports are needed. Where neither cache nor
 * configuration tells how, it succeeds with a warning in the log. Task only, waits. On failure the
 * cache entry stays, so that the next try goes on.
 */
int network_detach(struct network *network, const struct network_pod *pod, struct error *err);

/* Asks the plugins whether the pod's network is as they made it (CHECK). Success where the version
 * has none. Task only. */
int network_check(struct network *network, const struct network_pod *pod, struct error *err);

/*
 * Frees what pods that are gone left: every cache entry that this owner made for a pod that is not
 * in valid (ids, null-terminated) and was not connected since: call it without a wait after making
 * that list. Plugins get GC where they speak 1.1.0, nobody else has entries in this network and no
 * pod is being connected; pods that come meanwhile wait for it, seconds at most. Goes on after a
 * failure and returns the first. FAILED_PRECONDITION while another one runs. Task only.
 */
int network_gc(struct network *network, char *const *valid, struct error *err);

/*
 * The ranges that plugins with the ipRanges capability get: comma-separated CIDRs as of
 * UpdateRuntimeConfig; "" or null is none. INVALID_ARGUMENT for what is no CIDR.
 */
int network_set_pod_cidr(struct network *network, const char *cidrs, struct error *err);

/*
 * Renders a template (conf_template.h) with those ranges into NETWORK_TEMPLATE_FILE of the
 * configuration's folder, unless there is a network or no range. Task only, waits.
 */
int network_render(struct network *network, const char *template_path, struct error *err);

/*
 * The quantity of a bandwidth annotation (kubernetes.io/ingress-bandwidth: "10M") to bits a second.
 * Kubernetes' quantities: decimal or exponent with suffix k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei.
 * INVALID_ARGUMENT for anything else and outside 1k to 1P. Any thread.
 */
int network_parse_bandwidth(const char *text, uint64_t *rate, struct error *err);

#endif
