/* The default network: its configuration, and whether it is ready. */
#include "network/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/log.h"
#include "base/memory.h"
#include "network/cni.h"
#include "network/network_internal.h"

#define DEFAULT_TIMEOUT (60 * NSEC_PER_SEC)
#define PROBE_INTERVAL                                                                             \
        (5 * NSEC_PER_SEC) /* between two times that plugins are asked for their status */
#define PROBE_TIMEOUT (10 * NSEC_PER_SEC)
#define CIDRS_MAX     8
#define CIDR_SIZE     64

struct network *network_new(const struct network_options *options)
{
        struct network *network = xcalloc(1, sizeof *network);
        *network = (struct network){
                .config_dir = xstrdup(options->config_dir),
                .plugin_dirs = strv_dup(options->plugin_dirs),
                .cache_dir = xstrdup(options->cache_dir ? options->cache_dir : NETWORK_CACHE_DIR),
                .owner = xstrdup(options->owner),
                .timeout = options->timeout > 0 ? options->timeout : DEFAULT_TIMEOUT,
                .default_network = xstrdup(options->default_network),
                .max_networks = options->max_networks,
                .ready_timeout = options->ready_timeout,
                .grace = options->grace,
                .preference = options->preference,
                .hostports = options->hostports,
                .shared = options->sibling ? options->sibling->shared
                                           : xcalloc(1, sizeof(struct network_shared)),
        };
        if (!network->shared->references++)
                network->shared->attaching = table_new();
        if (!network->plugin_dirs)
                network->plugin_dirs = xcalloc(1, sizeof *network->plugin_dirs);
        return network;
}

void network_free(struct network *network)
{
        if (!network)
                return;
        network_watch_free(network->watch);
        timer_free(network->probe_timer);
        cni_config_fini(&network->config);
        json_decref(network->ip_ranges);
        if (!--network->shared->references) {
                table_free(network->shared->attaching);
                free(network->shared);
        }
        free(network->default_network);
        free(network->load_problem);
        free(network->plugin_problem);
        free(network->config_dir);
        strv_free(network->plugin_dirs);
        free(network->cache_dir);
        free(network->owner);
        free(network);
}

/* ---- plugins: are they there, and are they ready ---- */

/* The first plugin whose program is in no folder, as a problem; null when all are there. Blocks. */
static char *missing_plugin(const struct cni_network *config, char *const *plugin_dirs)
{
        AUTO_BUFFER struct buffer folders = BUFFER_INIT;
        for (size_t i = 0; i < config->plugin_count; i++) {
                if (cni_plugin_is_there(plugin_dirs, config->plugins[i].type))
                        continue;
                for (char *const *each = plugin_dirs; *each; each++)
                        buffer_printf(&folders, "%s%s", folders.length ? ", " : "", *each);
                return xprintf("network %s (%s) needs the CNI plugin %s, which is not in %s",
                               config->name, config->file, config->plugins[i].type,
                               folders.length ? folders.data : "any folder");
        }
        return NULL;
}

struct search {
        const struct cni_network *config;
        char *const *plugin_dirs;
        char *problem;
};

static int search_on_worker(void *argument)
{
        struct search *search = argument;
        search->problem = missing_plugin(search->config, search->plugin_dirs);
        return 0;
}

/* Whether plugins that were ready may still say that they are not: an upgrade of theirs takes a
 * moment. */
static bool is_passing(struct network *network, const char *problem)
{
        if (!problem) {
                network->failing_since = 0;
                return false;
        }
        if (network->plugin_problem || !network->grace)
                return false;
        int64_t now = clock_monotonic();
        if (!network->failing_since) {
                network->failing_since = now;
                log_warning("plugins are not ready: pods will not be connected unless that passes",
                            "reason", problem, NULL);
        }
        return now - network->failing_since < network->grace;
}

static void set_plugin_problem(struct network *network, char *problem)
{
        const char *before = network->plugin_problem;
        if (is_passing(network, problem)) {
                free(problem);
                return;
        }
        if (problem && (!before || strcmp(before, problem) != 0))
                log_warning("pods cannot be connected", "reason", problem, NULL);
        else if (!problem && before)
                log_info("the network is ready again", "network", network->config.network->name,
                         NULL);
        free(network->plugin_problem);
        network->plugin_problem = problem;
        if (!problem)
                event_signal(&network->changed);
}

static void probe_later(struct network *network);

static void probe_task(void *argument)
{
        struct network *network = argument;
        AUTO_CNI_NETWORK struct cni_network *config = NULL;
        /* Once more when the configuration changed meanwhile: then the answer was of another
         * network. */
        while (network->config.network && network->config.network != config) {
                cni_network_unref(config);
                config = cni_network_ref(network->config.network);
                struct error err = {0};
                struct search search = {.config = config, .plugin_dirs = network->plugin_dirs};
                task_offload(search_on_worker, &search);
                if (!search.problem &&
                    cni_status(network->plugin_dirs, config, clock_after(PROBE_TIMEOUT), &err) < 0)
                        search.problem = xstrdup(err.message);
                if (network->config.network == config)
                        set_plugin_problem(network, search.problem);
                else
                        free(search.problem);
        }
        network->probing = false;
        probe_later(network);
}

static void probe_now(void *argument)
{
        struct network *network = argument;
        timer_free(network->probe_timer);
        network->probe_timer = NULL;
        if (network->probing)
                return;
        network->probing = true;
        task_start("CNI status", probe_task, network);
}

/* Only where there is something to ask again: a network that has STATUS, or a plugin that may yet
 * be installed. */
static void probe_later(struct network *network)
{
        const struct cni_network *config = network->config.network;
        if (!config || network->probe_timer)
                return;
        if (config->version >= CNI_1_1_0 || network->plugin_problem)
                network->probe_timer = timer_new(clock_after(PROBE_INTERVAL), probe_now, network);
}

/* ---- reading the configuration ---- */

struct load {
        const char *directory;
        struct cni_choice choice;
        char *const *plugin_dirs;
        struct cni_config config;
        char *plugin_problem;
        struct error err;
};

static int load_on_worker(void *argument)
{
        struct load *load = argument;
        int result = cni_config_load(load->directory, &load->choice, &load->config, &load->err);
        if (result == 0 && load->config.network)
                load->plugin_problem = missing_plugin(load->config.network, load->plugin_dirs);
        return result;
}

static bool was_told(const struct cni_config *config, const struct cni_problem *problem)
{
        for (size_t i = 0; i < config->problem_count; i++)
                if (strcmp(config->problems[i].file, problem->file) == 0 &&
                    strcmp(config->problems[i].reason, problem->reason) == 0)
                        return true;
        return false;
}

/* Takes over what load found. */
static void install(struct network *network, struct load *load, int result)
{
        if (result < 0) {
                /* What was read before stands: the folder may only be out of reach for a while. */
                if (!network->load_problem || strcmp(network->load_problem, load->err.message) != 0)
                        log_failure(&load->err, "cannot read the CNI configuration", NULL);
                free(network->load_problem);
                network->load_problem = xstrdup(load->err.message);
                return;
        }
        free(network->load_problem);
        network->load_problem = NULL;
        for (size_t i = 0; i < load->config.problem_count; i++) {
                const struct cni_problem *problem = &load->config.problems[i];
                if (!was_told(&network->config, problem))
                        log_warning("CNI configuration is not used", "file", problem->file,
                                    "reason", problem->reason, NULL);
        }
        const struct cni_network *before = network->config.network, *now = load->config.network;
        if (now && (!before || strcmp(before->file, now->file) != 0 ||
                    !json_equal(before->json, now->json)))
                log_info("CNI network", "network", now->name, "file", now->file, "version",
                         cni_version_name(now->version), NULL);
        else if (!now && before)
                log_warning("there is no CNI network any more", "folder", network->config_dir,
                            NULL);
        /* A network that can say how it is counts as ready when it has said so. */
        bool asks = now && now->version >= CNI_1_1_0 && !load->plugin_problem;
        if (asks && (!before || !json_equal(before->json, now->json)))
                load->plugin_problem = xprintf("network %s (%s): its plugins are being asked for "
                                               "their status",
                                               now->name, now->file);
        else if (asks)
                load->plugin_problem = take_ptr(network->plugin_problem);
        free(network->plugin_problem);
        network->plugin_problem = take_ptr(load->plugin_problem);
        cni_config_fini(&network->config);
        network->config = load->config;
        load->config = (struct cni_config){0};
        event_signal(&network->changed);
}

static struct load new_load(const struct network *network)
{
        return (struct load){
                .directory = network->config_dir,
                .choice = {.name = network->default_network, .most = network->max_networks},
                .plugin_dirs = network->plugin_dirs,
        };
}

static void load_task(void *argument)
{
        struct network *network = argument;
        do {
                struct load load = new_load(network);
                network->load_again = false;
                int result = task_offload(load_on_worker, &load);
                install(network, &load, result);
        } while (network->load_again);
        network->loading = false;
        probe_now(network);
}

static void folder_changed(void *argument)
{
        struct network *network = argument;
        network->load_again = true;
        if (network->loading)
                return;
        network->loading = true;
        task_start("CNI configuration", load_task, network);
}

int network_start(struct network *network, struct error *err)
{
        /* Watched before it is read: what changes in between is read again. */
        network->watch = network_watch_new(network->config_dir, folder_changed, network, err);
        if (!network->watch)
                return error_context(err, "network");
        struct load load = new_load(network);
        int result = load_on_worker(&load);
        install(network, &load, result);
        probe_now(network);
        return 0;
}

/* ---- what the kubelet is told ---- */

void network_status(const struct network *network, bool *ready, char reason[NETWORK_REASON_MAX])
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        *ready = network->config.network && !network->plugin_problem;
        if (network->load_problem)
                buffer_printf(&text, "%s", network->load_problem);
        else if (!network->config.network && network->default_network && *network->default_network)
                buffer_printf(&text, "no file in %s (*.conflist, *.conf) has the network %s",
                              network->config_dir, network->default_network);
        else if (!network->config.network)
                buffer_printf(&text,
                              "no network configuration in %s (*.conflist, *.conf): install a CNI "
                              "plugin's configuration",
                              network->config_dir);
        if (network->plugin_problem)
                buffer_printf(&text, "%s%s", text.length ? "; " : "", network->plugin_problem);
        for (size_t i = 0; i < network->config.problem_count; i++)
                buffer_printf(&text, "%s%s is not used: %s", text.length ? "; " : "",
                              network->config.problems[i].file, network->config.problems[i].reason);
        if (text.length >= NETWORK_REASON_MAX)
                memcpy(text.data + NETWORK_REASON_MAX - 4, "...", 4);
        snprintf(reason, NETWORK_REASON_MAX, "%s", text.data ? text.data : "");
}

int network_wait(struct network *network, struct error *err)
{
        char reason[NETWORK_REASON_MAX];
        bool ready = network->ready_timeout == 0;
        int64_t deadline = clock_after(network->ready_timeout);
        while (!ready) {
                network_status(network, &ready, reason);
                if (!ready && task_wait(&network->changed, deadline) < 0)
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "it is not ready, also not after %lld s: %s",
                                         (long long)(network->ready_timeout / NSEC_PER_SEC),
                                         reason);
        }
        return 0;
}

/* ---- the node's ranges ---- */

static bool is_cidr(const char *text)
{
        char address[CIDR_SIZE];
        unsigned char binary[sizeof(struct in6_addr)];
        const char *slash = strchr(text, '/');
        size_t length = slash ? (size_t)(slash - text) : 0;
        if (length == 0 || length >= sizeof address)
                return false;
        memcpy(address, text, length);
        address[length] = '\0';
        int family = strchr(address, ':') ? AF_INET6 : AF_INET;
        size_t digits = strspn(slash + 1, "0123456789");
        return inet_pton(family, address, binary) == 1 && digits > 0 && digits <= 3 &&
               slash[1 + digits] == '\0' && atoi(slash + 1) <= (family == AF_INET ? 32 : 128);
}

int network_set_pod_cidr(struct network *network, const char *cidrs, struct error *err)
{
        json_t *ranges = json_array();
        for (const char *each = cidrs; each && *each;) {
                char cidr[CIDR_SIZE];
                size_t length = strcspn(each, ",");
                snprintf(cidr, sizeof cidr, "%.*s", (int)length, each);
                if (length >= sizeof cidr || !is_cidr(cidr) ||
                    json_array_size(ranges) == CIDRS_MAX) {
                        json_decref(ranges);
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "pod CIDR \"%.128s\": expected up to %d ranges like "
                                         "10.244.1.0/24, separated by commas",
                                         cidrs, CIDRS_MAX);
                }
                json_array_append_new(ranges, json_pack("[{s:s}]", "subnet", cidr));
                each += length + (each[length] == ',');
        }
        json_decref(network->ip_ranges);
        network->ip_ranges = ranges;
        return 0;
}
