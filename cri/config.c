#include "cri/config.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cri/config_load.h"
#include "cri/config_machine.h"
#include "oci/spec.h"

#define MIN_MEMORY_KIB      (12 * 1024) /* runc's own process while it makes a container */
#define MIN_MEMORY_KIB_CRUN 500
#define MIN_MEMORY_UNSET    UINT_MAX

/* ---- defaults ---- */

void config_handler_add(struct config *config, const char *name)
{
        struct config_handler *handlers = config->runtime.handlers;
        size_t count = config->runtime.handler_count, at = 0;

        assert(count < CONFIG_HANDLERS_MAX);
        while (at < count && strcmp(handlers[at].name, name) < 0)
                at++;
        handlers = xrealloc(handlers, (count + 1) * sizeof(*handlers));
        memmove(&handlers[at + 1], &handlers[at], (count - at) * sizeof(*handlers));
        handlers[at] = (struct config_handler){.name = xstrdup(name),
                                               .container_min_memory_kib = MIN_MEMORY_UNSET,
                                               .exec_cpu_affinity = xstrdup("")};
        config->runtime.handlers = handlers;
        config->runtime.handler_count = count + 1;
}

static void add_shim(struct config *config, const char *name)
{
        config_handler_add(config, name);
        ((struct config_handler *)config_handler_find(config, name))->kind = CONFIG_HANDLER_SHIM;
}

struct config_workload *config_workload_add(struct config *config, const char *name)
{
        struct config_workload *workloads = config->runtime.workloads;
        size_t count = config->runtime.workload_count, at = 0;

        while (at < count && strcmp(workloads[at].name, name) < 0)
                at++;
        if (at < count && strcmp(workloads[at].name, name) == 0)
                return &workloads[at];
        workloads = xrealloc(workloads, (count + 1) * sizeof(*workloads));
        memmove(&workloads[at + 1], &workloads[at], (count - at) * sizeof(*workloads));
        workloads[at] = (struct config_workload){
                .name = xstrdup(name),
                .activation_annotation = xstrdup(""),
                .annotation_prefix = xstrdup(""),
                .cpuset = xstrdup(""),
        };
        config->runtime.workloads = workloads;
        config->runtime.workload_count = count + 1;
        return &workloads[at];
}

/* What is there without being configured, where its program is installed. */
static const char *const usual_names[] = {"crun", "crun-wasm", "runc", "youki"};

static const char *installed_path(const struct config_machine *machine, const char *name)
{
        const char *const paths[] = {machine->crun, machine->crun_wasm, machine->runc,
                                     machine->youki};

        for (size_t i = 0; i < sizeof usual_names / sizeof *usual_names; i++)
                if (strcmp(name, usual_names[i]) == 0)
                        return paths[i];
        if (strcmp(name, "kata") == 0)
                return machine->kata;
        if (strcmp(name, "runsc") == 0)
                return machine->runsc;
        return NULL;
}

struct config *config_new(const struct config_machine *machine)
{
        static const char *const plugin_dirs[] = {
                "/opt/cni/bin",
                "/usr/lib/cni",
                "/usr/libexec/cni",
        };
        static const char *const auth_files[] = {
                "/run/containers/0/auth.json",
                "/root/.config/containers/auth.json",
                "/root/.docker/config.json",
        };
        struct config *config = xcalloc(1, sizeof(*config));

        config->state_dir = xstrdup("/var/lib/crisp");
        config->run_dir = xstrdup("/run/crisp");
        config->network.config_dir = xstrdup("/etc/cni/net.d");
        for (size_t i = 0; i < sizeof(plugin_dirs) / sizeof(plugin_dirs[0]); i++)
                strv_push(&config->network.plugin_dirs, plugin_dirs[i]);
        config->network.timeout = 60;
        config->network.default_network = xstrdup("");
        config->network.max_conf_num = 1;
        config->network.ready_timeout = 60;
        config->network.conf_template = xstrdup("");
        config->images.registries_conf = xstrdup("/etc/containers/registries.conf");
        strv_push(&config->images.hosts_dirs, "/etc/containerd/certs.d");
        strv_push(&config->images.certs_dirs, "/etc/containers/certs.d");
        strv_push(&config->images.certs_dirs, "/etc/docker/certs.d");
        for (size_t i = 0; i < sizeof(auth_files) / sizeof(auth_files[0]); i++)
                strv_push(&config->images.auth_files, auth_files[i]);
        config->images.namespaced_auth_dir = xstrdup("/etc/crisp/auth");
        config->images.credential_helper_timeout = 30;
        config->images.signature_policy = xstrdup("/etc/containers/policy.json");
        config->images.signature_policy_dir = xstrdup("/etc/crisp/policies");
        config->images.registries_d = xstrdup("/etc/containers/registries.d");
        config->images.verifier_dir = xstrdup("");
        config->images.verifier_timeout = 10;
        config->images.decryption_keys_dir = xstrdup("/etc/crisp/keys");
        config->images.pull_cgroup = xstrdup("");
        config->images.max_parallel_pulls = 4;
        config->images.max_parallel_layers = 3;
        config->images.pull_stall_timeout = 60;
        config->images.min_pull_rate = 1024;
        config->images.disk_reserve_mib = 512;
        config->images.max_layer_entries = 2000000;
        config->images.max_layer_mib = 65536;
        config->runtime.cgroup_driver =
                machine->systemd ? CONFIG_CGROUP_SYSTEMD : CONFIG_CGROUP_CGROUPFS;
        config->runtime.create_timeout = 120;
        config->runtime.monitor_cgroup = xstrdup("/crisp-monitors");
        config->runtime.namespaces_dir = xstrdup("");
        config->runtime.enable_unprivileged_ports = true;
        config->runtime.enable_unprivileged_icmp = true;
        config->runtime.unclaimed_timeout = 600;
        config->runtime.stop_timeout = 10;
        config->runtime.log_files_max = 2;
        config->runtime.log_line_max = 16384;
        config->runtime.journald_socket = xstrdup("/run/systemd/journal/socket");
        config->runtime.kubelet_dir = xstrdup("/var/lib/kubelet");
        strv_push(&config->runtime.allowed_annotations, "io.containers.trace-syscall");
        strv_push(&config->runtime.allowed_annotations, "devices.crio.io");
        strv_push(&config->runtime.allowed_devices, "/dev/fuse");
        strv_push(&config->runtime.allowed_devices, "/dev/net/tun");
        strv_push(&config->runtime.cdi_spec_dirs, "/etc/cdi");
        strv_push(&config->runtime.cdi_spec_dirs, "/run/cdi");
        strv_push(&config->runtime.hooks_dir, "/usr/share/containers/oci/hooks.d");
        strv_push(&config->runtime.hooks_dir, "/etc/containers/oci/hooks.d");
        config->runtime.timezone = xstrdup("");
        config->runtime.bind_mount_prefix = xstrdup("");
        config->runtime.default_mounts_file = xstrdup("");
        config->runtime.seccomp_profile = xstrdup(CONFIG_SECCOMP_PROFILE);
        config->runtime.privileged_seccomp_profile = xstrdup("");
        config->runtime.seccomp_root = xstrdup("/var/lib/kubelet/seccomp");
        config->runtime.apparmor_profile = xstrdup(CONFIG_APPARMOR_PROFILE);
        for (const char *const *name = SPEC_DEFAULT_CAPABILITIES; *name; name++)
                strv_push(&config->runtime.default_capabilities, *name);
        config->runtime.selinux = true;
        config->runtime.hostnetwork_disable_selinux = true;
        config->runtime.infra_cpuset = xstrdup("");
        config->runtime.uid_mappings = xstrdup("");
        config->runtime.gid_mappings = xstrdup("");
        config->runtime.userns_range = xstrdup("");
        config->runtime.shared_cpuset = xstrdup("");
        config->runtime.irqbalance_config_file = xstrdup("/etc/default/irqbalance");
        config->runtime.blockio_config_file = xstrdup("");
        config->runtime.rdt_config_file = xstrdup("");
        config->streaming.address = xstrdup("127.0.0.1");
        config->streaming.idle_timeout = 4 * 3600;
        config->streaming.max_sessions = 1024;
        config->streaming.tls_cert = xstrdup("");
        config->streaming.tls_key = xstrdup("");
        config->streaming.tls_client_ca = xstrdup("");
        config->streaming.tls_min_version = xstrdup("1.2");
        config->nri.listen = xstrdup("");
        config->stats.collection_period = 10;
        strv_push(&config->stats.pod_metrics, "all");
        config->metrics.listen = xstrdup("");
        config->metrics.tls_cert = xstrdup("");
        config->metrics.tls_key = xstrdup("");
        strv_push(&config->metrics.collectors, "all");
        config->log.level = LOG_LEVEL_INFO;
        config->limits.max_workers = 64;
        config->limits.max_message_bytes = 16 * 1024 * 1024;
        config->limits.max_tasks = 10000;
        for (size_t i = 0; i < sizeof usual_names / sizeof *usual_names; i++)
                if (installed_path(machine, usual_names[i]))
                        config_handler_add(config, usual_names[i]);
        if (machine->kata)
                add_shim(config, "kata");
        if (machine->runsc)
                add_shim(config, "runsc");
        return config;
}

/* Of the path for this machine's platform; or null. */
static const char *platform_path(const struct config_handler *handler)
{
        for (char *const *pair = handler->platform_paths; pair && *pair; pair += 2)
                if (strcmp(pair[0], CONFIG_PLATFORM) == 0)
                        return pair[1];
        return NULL;
}

/* What runc's shim drives where nothing is said; others drive what they know. */
static const char *shim_runtime(const struct config_machine *machine,
                                const struct config_handler *handler)
{
        return handler->kind == CONFIG_HANDLER_SHIM && machine->runc ? machine->runc : "";
}

static unsigned least_memory(const char *path)
{
        const char *name = path ? strrchr(path, '/') : NULL;
        return name && strcmp(name, "/crun") == 0 ? MIN_MEMORY_KIB_CRUN : MIN_MEMORY_KIB;
}

void config_complete(struct config *config, const struct config_machine *machine)
{
        /* Where nothing is installed, what fails names the program that is missing. */
        if (config->runtime.handler_count == 0) {
                config_handler_add(config, "runc");
                config->runtime.handlers[0].path = xstrdup("/usr/sbin/runc");
        }
        for (size_t i = 0; i < config->runtime.handler_count; i++) {
                struct config_handler *handler = &config->runtime.handlers[i];

                if (platform_path(handler)) {
                        free(handler->path);
                        handler->path = xstrdup(platform_path(handler));
                }
                if (!handler->path)
                        handler->path = xstrdup(installed_path(machine, handler->name));
                if (handler->container_min_memory_kib == MIN_MEMORY_UNSET)
                        handler->container_min_memory_kib = least_memory(handler->path);
                if (!handler->root)
                        handler->root = xprintf("%s/runtimes/%s", config->run_dir, handler->name);
                if (!handler->create_timeout)
                        handler->create_timeout = config->runtime.create_timeout;
                if (!handler->cni_conf_dir)
                        handler->cni_conf_dir = xstrdup("");
                if (!handler->shim_runtime)
                        handler->shim_runtime = xstrdup(shim_runtime(machine, handler));
                if (!handler->shim_config)
                        handler->shim_config = xstrdup("");
                if (!handler->shim_options_type)
                        handler->shim_options_type = xstrdup("");
                if (!handler->seccomp_profile)
                        handler->seccomp_profile = xstrdup(config->runtime.seccomp_profile);
        }
        if (!config->api.listen)
                config->api.listen = xprintf("%s/crisp.sock", config->run_dir);
        if (!config->images.dir)
                config->images.dir = xprintf("%s/images", config->state_dir);
        if (!config->runtime.default_handler) {
                const char *best = config_machine_handler(machine);

                if (!config_handler_find(config, best))
                        best = config->runtime.handlers[0].name;
                config->runtime.default_handler = xstrdup(best);
        }
}

void config_free(struct config *config)
{
        if (!config)
                return;
        for (size_t i = 0; i < config->runtime.handler_count; i++) {
                struct config_handler *handler = &config->runtime.handlers[i];

                free(handler->name);
                free(handler->path);
                strv_free(handler->platform_paths);
                free(handler->root);
                free(handler->cni_conf_dir);
                free(handler->shim_runtime);
                free(handler->shim_config);
                free(handler->shim_options_type);
                free(handler->seccomp_profile);
                free(handler->exec_cpu_affinity);
                strv_free(handler->allowed_annotations);
                strv_free(handler->default_annotations);
        }
        free(config->runtime.handlers);
        free(config->state_dir);
        free(config->run_dir);
        free(config->api.listen);
        free(config->network.config_dir);
        strv_free(config->network.plugin_dirs);
        free(config->network.default_network);
        free(config->network.conf_template);
        free(config->images.dir);
        strv_free(config->images.additional_stores);
        free(config->images.registries_conf);
        strv_free(config->images.hosts_dirs);
        strv_free(config->images.certs_dirs);
        strv_free(config->images.auth_files);
        strv_free(config->images.pinned);
        free(config->images.namespaced_auth_dir);
        free(config->images.signature_policy);
        free(config->images.signature_policy_dir);
        free(config->images.registries_d);
        free(config->images.verifier_dir);
        free(config->images.decryption_keys_dir);
        free(config->images.pull_cgroup);
        free(config->runtime.default_handler);
        free(config->runtime.monitor_cgroup);
        free(config->runtime.namespaces_dir);
        strv_free(config->runtime.default_sysctls);
        free(config->runtime.journald_socket);
        free(config->runtime.kubelet_dir);
        free(config->runtime.seccomp_profile);
        free(config->runtime.privileged_seccomp_profile);
        free(config->runtime.seccomp_root);
        free(config->runtime.apparmor_profile);
        strv_free(config->runtime.default_capabilities);
        for (size_t i = 0; i < config->runtime.workload_count; i++) {
                struct config_workload *workload = &config->runtime.workloads[i];

                free(workload->name);
                free(workload->activation_annotation);
                free(workload->annotation_prefix);
                strv_free(workload->allowed_annotations);
                free(workload->cpuset);
        }
        free(config->runtime.workloads);
        free(config->runtime.infra_cpuset);
        free(config->runtime.uid_mappings);
        free(config->runtime.gid_mappings);
        free(config->runtime.userns_range);
        free(config->runtime.shared_cpuset);
        free(config->runtime.irqbalance_config_file);
        free(config->runtime.blockio_config_file);
        free(config->runtime.rdt_config_file);
        strv_free(config->runtime.allowed_annotations);
        strv_free(config->runtime.additional_devices);
        strv_free(config->runtime.allowed_devices);
        strv_free(config->runtime.cdi_spec_dirs);
        strv_free(config->runtime.hooks_dir);
        strv_free(config->runtime.default_env);
        strv_free(config->runtime.default_ulimits);
        free(config->runtime.timezone);
        strv_free(config->runtime.absent_mount_sources_to_reject);
        free(config->runtime.bind_mount_prefix);
        free(config->runtime.default_mounts_file);
        free(config->streaming.address);
        free(config->streaming.tls_cert);
        free(config->streaming.tls_key);
        free(config->streaming.tls_client_ca);
        free(config->streaming.tls_min_version);
        strv_free(config->streaming.tls_ciphers);
        free(config->nri.listen);
        strv_free(config->stats.pod_metrics);
        free(config->metrics.listen);
        free(config->metrics.tls_cert);
        free(config->metrics.tls_key);
        strv_free(config->metrics.collectors);
        free(config);
}

const struct config_handler *config_handler_find(const struct config *config, const char *name)
{
        if (!*name)
                name = config->runtime.default_handler;
        assert(name);
        for (size_t i = 0; i < config->runtime.handler_count; i++)
                if (strcmp(config->runtime.handlers[i].name, name) == 0)
                        return &config->runtime.handlers[i];
        return NULL;
}

int64_t config_create_timeout(const struct config *config, const char *handler)
{
        const struct config_handler *found = handler ? config_handler_find(config, handler) : NULL;

        return (found ? found->create_timeout : config->runtime.create_timeout) * NSEC_PER_SEC;
}
