#include "cri/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/program.h"
#include "base/task.h"
#include "cri/container.h"
#include "cri/events.h"
#include "cri/node_handlers.h"
#include "cri/pod_pins.h"
#include "cri/pod_shim.h"
#include "cri/pull_cgroup.h"

#define PULL_STALLS 4 /* stalls of a registry in a row before a pull says anything */

struct node node;

static int read_boot_id(struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int result = file_read("/proc/sys/kernel/random/boot_id", 64, &text, err);
        if (result < 0)
                return result;
        snprintf(node.boot_id, sizeof node.boot_id, "%.*s", (int)strcspn(text.data, "\n"),
                 text.data);
        return 0;
}

static void check_driver(void)
{
        /* As systemd's own sd_booted(3) has it. */
        if (node.cgroup_driver == CGROUP_DRIVER_SYSTEMD && access("/run/systemd/system", F_OK) < 0)
                log_error("runtime.cgroup_driver is systemd, and systemd does not run here: no "
                          "container will start",
                          NULL);
}

static int make_folders(struct error *err)
{
        const struct config *config = node.config;
        node.pods_dir = xprintf("%s/pods", config->state_dir);
        node.containers_dir = xprintf("%s/containers", config->state_dir);
        node.run_pods_dir = xprintf("%s/pods", config->run_dir);
        node.run_containers_dir = xprintf("%s/containers", config->run_dir);
        /*
         * Root's alone: a set-user-ID program that a container made in its root, or a pod's shared
         * memory, must not be in reach of the host's users, who can read the paths in
         * /proc/mounts. What a container gets is mounted, and nobody passes through here to it.
         */
        const struct {
                const char *path;
                mode_t mode;
        } folders[] = {
                {node.pods_dir, 0700},
                {node.containers_dir, 0700},
                {node.run_pods_dir, 0700},
                /* But a runtime goes to a container's root as root of its user namespace: that of
                 * each container is root's alone, or lets its pod's root pass. */
                {node.run_containers_dir, 0711},
        };
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
                int result = file_make_directories(folders[i].path, folders[i].mode, err);
                if (result < 0)
                        return result;
                if (chmod(folders[i].path, folders[i].mode) < 0)
                        return error_errno(err, errno, "change the mode of %s", folders[i].path);
        }
        return 0;
}

/* A file that is wrong is told by each pull, and stops nothing else. */
static void open_sources(void)
{
        const struct config *config = node.config;
        struct sources_options options = {
                .registries_conf = config->images.registries_conf,
                .hosts_dirs = config->images.hosts_dirs,
                .certs_dirs = config->images.certs_dirs,
        };
        struct error err;
        node.sources = sources_new(&options);
        if (sources_load(node.sources, &err) < 0)
                log_failure(&err, "images cannot be pulled", NULL);
}

static int open_images(struct error *err)
{
        const struct config *config = node.config;
        open_sources();
        node.pinned_images = config->images.pinned;
        int result =
                store_open(config->images.dir, config->images.additional_stores, &node.images, err);
        if (result < 0)
                return result;
        AUTO_FREE char *program = program_path("crisp-image");
        AUTO_FREE char *verifier = program_path("crisp-trust");
        struct trust_options trust = {
                .policy = config->images.signature_policy,
                .policy_dir = config->images.signature_policy_dir,
                .registries_d = config->images.registries_d,
                .program = verifier,
        };
        node.trust = trust_new(&trust);
        struct pull_options options = {
                .store = node.images,
                .sources = node.sources,
                .trust = node.trust,
                .verifier = {.directory = config->images.verifier_dir,
                             .timeout = config->images.verifier_timeout * NSEC_PER_SEC},
                .credentials = {.auth_files = config->images.auth_files,
                                .namespaced_auth_dir = config->images.namespaced_auth_dir,
                                .helper_timeout =
                                        config->images.credential_helper_timeout * NSEC_PER_SEC},
                .program = program,
                .environment = environ,
                .decryption_keys = config->images.decryption_keys_dir,
                .parallel = config->images.max_parallel_pulls,
                /* crisp-image tries again before it gives up: it is not to be cut off meanwhile. */
                .stall = PULL_STALL_DEFAULT +
                         PULL_STALLS * config->images.pull_stall_timeout * NSEC_PER_SEC,
                .limits = {.parallel_layers = config->images.max_parallel_layers,
                           .stall_timeout = config->images.pull_stall_timeout * INT64_C(1000),
                           .min_rate = config->images.min_pull_rate,
                           .disk_reserve = (int64_t)config->images.disk_reserve_mib << 20,
                           .entries = config->images.max_layer_entries,
                           .unpacked_bytes = (int64_t)config->images.max_layer_mib << 20},
                .enter = *config->images.pull_cgroup ? pull_cgroup_enter : NULL,
                .leave = *config->images.pull_cgroup ? pull_cgroup_leave : NULL,
                .by_pod = strcmp(config->images.pull_cgroup, PULL_CGROUP_POD) == 0,
        };
        node.puller = puller_new(&options);
        struct offline_options offline = {
                .store = node.images,
                .puller = node.puller,
                .program = program,
                .environment = environ,
                .limits = options.limits,
        };
        node.offline = offline_new(&offline);
        return suspects_new(node.images, node.offline, node.boot_id, &node.suspects, err);
}

/* Handlers' folders beside the default one: each is followed once, however many name it. */
static int open_handler_networks(const struct network_options *defaults, struct error *err)
{
        const struct config *config = node.config;
        node.handler_networks = table_new();
        for (size_t i = 0; i < config->runtime.handler_count; i++) {
                const char *directory = config->runtime.handlers[i].cni_conf_dir;
                struct network_options options = *defaults;
                if (!*directory || table_get(node.handler_networks, directory))
                        continue;
                options.config_dir = directory;
                options.default_network = NULL;
                options.sibling = node.network;
                struct network *network = network_new(&options);
                table_put(node.handler_networks, directory, network);
                int result = network_start(network, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int open_network(struct error *err)
{
        const struct config *config = node.config;
        struct network_options options = {
                .config_dir = config->network.config_dir,
                .plugin_dirs = config->network.plugin_dirs,
                .timeout = config->network.timeout * NSEC_PER_SEC,
                .owner = config->state_dir,
                .default_network = config->network.default_network,
                .max_networks = config->network.max_conf_num,
                .ready_timeout = config->network.ready_timeout * NSEC_PER_SEC,
                .grace = config->network.status_grace_period * NSEC_PER_SEC,
                .preference = (enum network_preference)config->network.ip_preference,
                .hostports = !config->network.disable_hostport_mapping,
        };
        node.network = network_new(&options);
        int result = network_start(node.network, err);
        return result < 0 ? result : open_handler_networks(&options, err);
}

static void close_networks(void)
{
        size_t cursor = 0;
        for (void *each;
             node.handler_networks && (each = table_next(node.handler_networks, &cursor, NULL));)
                network_free(each);
        table_free(node.handler_networks);
        network_free(node.network);
}

int node_open(const struct config *config, struct error *err)
{
        node.config = config;
        node.pods = table_new();
        node.pod_names = table_new();
        node.containers = table_new();
        node.container_names = table_new();
        node.cgroup_driver = config->runtime.cgroup_driver == CONFIG_CGROUP_SYSTEMD
                                     ? CGROUP_DRIVER_SYSTEMD
                                     : CGROUP_DRIVER_CGROUPFS;
        check_driver();
        node.monitor_program = program_path("crisp-monitor");
        node.pause_program = program_path("crisp-pause");
        node.exec_program = program_path("crisp-exec");
        int result = read_boot_id(err);
        if (result == 0)
                result = cgroup_probe(&node.cgroups, err);
        if (result == 0)
                result = make_folders(err);
        if (result == 0)
                result = open_images(err);
        if (result == 0)
                result = open_network(err);
        if (result == 0)
                result = pod_pins_open(err);
        if (result < 0)
                return result;
        node_handlers_open();
        if (config->runtime.selinux)
                node.selinux = selinux_open("");
        return 0;
}

/* The monitors' cgroup is nobody's when there is no container left; the next start makes it anew.
 */
static void remove_monitor_cgroup(void)
{
        if (node.containers && table_size(node.containers) == 0 && table_size(node.pods) == 0)
                cgroup_remove(&node.cgroups, node.config->runtime.monitor_cgroup, clock_monotonic(),
                              NULL);
}

/* Pods and containers go on; what is let go is what the daemon knows of them. */
static void release_objects(void)
{
        size_t cursor = 0;
        for (void *each; (each = table_next(node.containers, &cursor, NULL));)
                container_unref(each);
        cursor = 0;
        for (void *each; (each = table_next(node.pods, &cursor, NULL));)
                pod_unref(each);
}

void node_close(void)
{
        events_close();
        pod_pins_close();
        release_objects();
        pod_shim_close();
        remove_monitor_cgroup();
        close_networks();
        suspects_free(node.suspects);
        offline_free(node.offline);
        puller_free(node.puller);
        trust_free(node.trust);
        sources_free(node.sources);
        store_free(node.images);
        selinux_free(node.selinux);
        node_handlers_close();
        cgroup_system_fini(&node.cgroups);
        table_free(node.containers);
        table_free(node.container_names);
        table_free(node.pods);
        table_free(node.pod_names);
        free(node.pods_dir);
        free(node.containers_dir);
        free(node.run_pods_dir);
        free(node.run_containers_dir);
        free(node.monitor_program);
        free(node.pause_program);
        free(node.exec_program);
        node = (struct node){0};
}
