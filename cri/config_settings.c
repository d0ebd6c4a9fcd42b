/* What can be set: each key's kind, place and bounds. */
#include <limits.h>
#include <stddef.h>

#include "cri/config_load.h"

#define SECONDS_MAX           3600 /* of any time that can be set: what takes longer hangs */
#define PARALLEL_MAX          64
#define LAYER_ENTRIES_MAX     1000000000
#define PULL_RATE_MAX         (1 << 30) /* bytes a second */
#define LAYER_MIB_MAX         (1 << 24)
#define WORKERS_MAX           1024
#define TASKS_MIN             16
#define TASKS_MAX             1000000
#define MESSAGE_MIN           (64 * 1024)
#define MESSAGE_MAX           (256 * 1024 * 1024)
#define PORT_MAX              65535
#define IDLE_MAX              604800 /* seconds: a week */
#define CIPHERS_MAX           64
#define SESSIONS_MAX          65536
#define PLUGIN_DIRS_MAX       64
#define REGISTRY_DIRS_MAX     16
#define AUTH_FILES_MAX        32
#define PINNED_MAX            256
#define ADDITIONAL_STORES_MAX 16
#define METRIC_WORDS_MAX      32
#define MOUNT_SOURCES_MAX     256
#define SYSCTLS_MAX           128
#define NETWORKS_MAX          16
#define LOG_FILES_MAX         100 /* as the monitor has it */
#define LOG_LINE_LEAST        256
#define LOG_LINE_MOST         (128 * 1024) /* as the monitor has it */
#define GOMAXPROCS_MAX        8192
#define CPU_SHARES_MAX        262144  /* the kernel's */
#define CPU_PERIOD_MAX        1000000 /* us, the kernel's */
#define CPU_TIME_MAX          1000000000
#define PIDS_MAX              (1 << 22) /* the kernel's PID_MAX_LIMIT */
#define MIN_MEMORY_KIB_MAX    (1 << 30)
#define ANNOTATIONS_MAX       256
#define DEVICES_MAX           256
#define SPEC_DIRS_MAX         16
#define VARIABLES_MAX         256
#define ULIMITS_MAX           32
#define CAPABILITIES_MAX      64
#define PLATFORMS_MAX         16
#define ID_MAX                4294967294U /* of users and groups */

#define PLACE(field) offsetof(struct config, field)

/* In the order of printing. */
const struct config_setting config_settings[] = {
        {"state_dir", CONFIG_PATH, PLACE(state_dir)},
        {"run_dir", CONFIG_PATH, PLACE(run_dir)},
        {"api.listen", CONFIG_SOCKET, PLACE(api.listen)},
        {"network.config_dir", CONFIG_PATH, PLACE(network.config_dir)},
        {"network.plugin_dirs", CONFIG_PATHS, PLACE(network.plugin_dirs), 1, PLUGIN_DIRS_MAX},
        {"network.timeout", CONFIG_NUMBER, PLACE(network.timeout), 1, SECONDS_MAX},
        {"network.default_network", CONFIG_TEXT_OR_NONE, PLACE(network.default_network)},
        {"network.max_conf_num", CONFIG_NUMBER, PLACE(network.max_conf_num), 0, NETWORKS_MAX},
        {"network.ready_timeout", CONFIG_NUMBER, PLACE(network.ready_timeout), 0, SECONDS_MAX},
        {"network.status_grace_period", CONFIG_NUMBER, PLACE(network.status_grace_period), 0,
         SECONDS_MAX},
        {"network.ip_preference", CONFIG_IP_PREFERENCE, PLACE(network.ip_preference)},
        {"network.disable_hostport_mapping", CONFIG_BOOL, PLACE(network.disable_hostport_mapping)},
        {"network.conf_template", CONFIG_PATH_OR_NONE, PLACE(network.conf_template)},
        {"images.dir", CONFIG_PATH, PLACE(images.dir)},
        {"images.additional_stores", CONFIG_PATHS, PLACE(images.additional_stores), 0,
         ADDITIONAL_STORES_MAX},
        {"images.registries_conf", CONFIG_PATH, PLACE(images.registries_conf)},
        {"images.hosts_dirs", CONFIG_PATHS, PLACE(images.hosts_dirs), 0, REGISTRY_DIRS_MAX},
        {"images.certs_dirs", CONFIG_PATHS, PLACE(images.certs_dirs), 0, REGISTRY_DIRS_MAX},
        {"images.auth_files", CONFIG_PATHS, PLACE(images.auth_files), 0, AUTH_FILES_MAX},
        {"images.namespaced_auth_dir", CONFIG_PATH, PLACE(images.namespaced_auth_dir)},
        {"images.credential_helper_timeout", CONFIG_NUMBER, PLACE(images.credential_helper_timeout),
         1, SECONDS_MAX},
        {"images.signature_policy", CONFIG_PATH, PLACE(images.signature_policy)},
        {"images.signature_policy_dir", CONFIG_PATH, PLACE(images.signature_policy_dir)},
        {"images.registries_d", CONFIG_PATH, PLACE(images.registries_d)},
        {"images.verifier_dir", CONFIG_PATH_OR_NONE, PLACE(images.verifier_dir)},
        {"images.verifier_timeout", CONFIG_NUMBER, PLACE(images.verifier_timeout), 1, SECONDS_MAX},
        {"images.decryption_keys_dir", CONFIG_PATH, PLACE(images.decryption_keys_dir)},
        {"images.pinned", CONFIG_TEXTS, PLACE(images.pinned), 0, PINNED_MAX},
        {"images.pull_cgroup", CONFIG_PULL_CGROUP, PLACE(images.pull_cgroup)},
        {"images.max_parallel_pulls", CONFIG_NUMBER, PLACE(images.max_parallel_pulls), 1,
         PARALLEL_MAX},
        {"images.max_parallel_layers", CONFIG_NUMBER, PLACE(images.max_parallel_layers), 1,
         PARALLEL_MAX},
        {"images.pull_stall_timeout", CONFIG_NUMBER, PLACE(images.pull_stall_timeout), 1,
         SECONDS_MAX},
        {"images.min_pull_rate", CONFIG_NUMBER, PLACE(images.min_pull_rate), 1, PULL_RATE_MAX},
        {"images.disk_reserve_mib", CONFIG_NUMBER, PLACE(images.disk_reserve_mib), 0,
         LAYER_MIB_MAX},
        {"images.max_layer_entries", CONFIG_NUMBER, PLACE(images.max_layer_entries), 1,
         LAYER_ENTRIES_MAX},
        {"images.max_layer_mib", CONFIG_NUMBER, PLACE(images.max_layer_mib), 1, LAYER_MIB_MAX},
        {"runtime.default_handler", CONFIG_HANDLER_NAME, PLACE(runtime.default_handler)},
        {"runtime.cgroup_driver", CONFIG_DRIVER, PLACE(runtime.cgroup_driver)},
        {"runtime.create_timeout", CONFIG_NUMBER, PLACE(runtime.create_timeout), 1, SECONDS_MAX},
        {"runtime.no_pivot", CONFIG_BOOL, PLACE(runtime.no_pivot)},
        {"runtime.monitor_cgroup", CONFIG_CGROUP, PLACE(runtime.monitor_cgroup)},
        {"runtime.namespaces_dir", CONFIG_PATH_OR_NONE, PLACE(runtime.namespaces_dir)},
        {"runtime.default_sysctls", CONFIG_SYSCTLS, PLACE(runtime.default_sysctls), 0, SYSCTLS_MAX},
        {"runtime.enable_unprivileged_ports", CONFIG_BOOL,
         PLACE(runtime.enable_unprivileged_ports)},
        {"runtime.enable_unprivileged_icmp", CONFIG_BOOL, PLACE(runtime.enable_unprivileged_icmp)},
        {"runtime.unclaimed_timeout", CONFIG_NUMBER, PLACE(runtime.unclaimed_timeout), 1,
         SECONDS_MAX},
        {"runtime.stop_timeout", CONFIG_NUMBER, PLACE(runtime.stop_timeout), 1, SECONDS_MAX},
        {"runtime.log_size_max", CONFIG_NUMBER, PLACE(runtime.log_size_max), 0, INT_MAX},
        {"runtime.log_files_max", CONFIG_NUMBER, PLACE(runtime.log_files_max), 1, LOG_FILES_MAX},
        {"runtime.log_line_max", CONFIG_NUMBER, PLACE(runtime.log_line_max), LOG_LINE_LEAST,
         LOG_LINE_MOST},
        {"runtime.log_to_journald", CONFIG_BOOL, PLACE(runtime.log_to_journald)},
        {"runtime.journald_socket", CONFIG_SOCKET, PLACE(runtime.journald_socket)},
        {"runtime.kubelet_dir", CONFIG_PATH, PLACE(runtime.kubelet_dir)},
        {"runtime.pids_limit", CONFIG_NUMBER, PLACE(runtime.pids_limit), 0, PIDS_MAX},
        {"runtime.infra_cpuset", CONFIG_CPUS, PLACE(runtime.infra_cpuset)},
        {"runtime.shared_cpuset", CONFIG_CPUS, PLACE(runtime.shared_cpuset)},
        {"runtime.min_injected_gomaxprocs", CONFIG_NUMBER, PLACE(runtime.min_injected_gomaxprocs),
         0, GOMAXPROCS_MAX},
        {"runtime.irqbalance_config_file", CONFIG_PATH_OR_NONE,
         PLACE(runtime.irqbalance_config_file)},
        {"runtime.blockio_config_file", CONFIG_PATH_OR_NONE, PLACE(runtime.blockio_config_file)},
        {"runtime.rdt_config_file", CONFIG_PATH_OR_NONE, PLACE(runtime.rdt_config_file)},
        {"runtime.allowed_annotations", CONFIG_ANNOTATIONS, PLACE(runtime.allowed_annotations), 0,
         ANNOTATIONS_MAX},
        {"runtime.additional_devices", CONFIG_DEVICES, PLACE(runtime.additional_devices), 0,
         DEVICES_MAX},
        {"runtime.allowed_devices", CONFIG_PATHS, PLACE(runtime.allowed_devices), 0, DEVICES_MAX},
        {"runtime.device_ownership_from_security_context", CONFIG_BOOL,
         PLACE(runtime.device_ownership_from_security_context)},
        {"runtime.cdi_spec_dirs", CONFIG_PATHS, PLACE(runtime.cdi_spec_dirs), 0, SPEC_DIRS_MAX},
        {"runtime.hooks_dir", CONFIG_PATHS, PLACE(runtime.hooks_dir), 0, SPEC_DIRS_MAX},
        {"runtime.default_env", CONFIG_VARIABLES, PLACE(runtime.default_env), 0, VARIABLES_MAX},
        {"runtime.default_ulimits", CONFIG_ULIMITS, PLACE(runtime.default_ulimits), 0, ULIMITS_MAX},
        {"runtime.timezone", CONFIG_TIMEZONE, PLACE(runtime.timezone)},
        {"runtime.absent_mount_sources_to_reject", CONFIG_PATHS,
         PLACE(runtime.absent_mount_sources_to_reject), 0, MOUNT_SOURCES_MAX},
        {"runtime.bind_mount_prefix", CONFIG_PATH_OR_NONE, PLACE(runtime.bind_mount_prefix)},
        {"runtime.default_mounts_file", CONFIG_PATH_OR_NONE, PLACE(runtime.default_mounts_file)},
        {"runtime.read_only", CONFIG_BOOL, PLACE(runtime.read_only)},
        {"runtime.image_volumes", CONFIG_IMAGE_VOLUMES, PLACE(runtime.image_volumes)},
        {"runtime.seccomp_profile", CONFIG_PATH_OR_NONE, PLACE(runtime.seccomp_profile)},
        {"runtime.privileged_seccomp_profile", CONFIG_PATH_OR_NONE,
         PLACE(runtime.privileged_seccomp_profile)},
        {"runtime.seccomp_root", CONFIG_PATH, PLACE(runtime.seccomp_root)},
        {"runtime.apparmor_profile", CONFIG_NAME, PLACE(runtime.apparmor_profile)},
        {"runtime.default_capabilities", CONFIG_CAPABILITIES, PLACE(runtime.default_capabilities),
         0, CAPABILITIES_MAX},
        {"runtime.add_inheritable_capabilities", CONFIG_BOOL,
         PLACE(runtime.add_inheritable_capabilities)},
        {"runtime.selinux", CONFIG_BOOL, PLACE(runtime.selinux)},
        {"runtime.hostnetwork_disable_selinux", CONFIG_BOOL,
         PLACE(runtime.hostnetwork_disable_selinux)},
        {"runtime.uid_mappings", CONFIG_ID_MAPS, PLACE(runtime.uid_mappings)},
        {"runtime.gid_mappings", CONFIG_ID_MAPS, PLACE(runtime.gid_mappings)},
        {"runtime.minimum_mappable_uid", CONFIG_NUMBER, PLACE(runtime.minimum_mappable_uid), 0,
         ID_MAX},
        {"runtime.minimum_mappable_gid", CONFIG_NUMBER, PLACE(runtime.minimum_mappable_gid), 0,
         ID_MAX},
        {"runtime.userns_range", CONFIG_ID_RANGE, PLACE(runtime.userns_range)},
        {"streaming.address", CONFIG_ADDRESS, PLACE(streaming.address)},
        {"streaming.port", CONFIG_NUMBER, PLACE(streaming.port), 0, PORT_MAX},
        {"streaming.idle_timeout", CONFIG_NUMBER, PLACE(streaming.idle_timeout), 1, IDLE_MAX},
        {"streaming.max_sessions", CONFIG_NUMBER, PLACE(streaming.max_sessions), 1, SESSIONS_MAX},
        {"streaming.tls_cert", CONFIG_PATH_OR_NONE, PLACE(streaming.tls_cert)},
        {"streaming.tls_key", CONFIG_PATH_OR_NONE, PLACE(streaming.tls_key)},
        {"streaming.tls_client_ca", CONFIG_PATH_OR_NONE, PLACE(streaming.tls_client_ca)},
        {"streaming.tls_min_version", CONFIG_TEXT_OR_NONE, PLACE(streaming.tls_min_version)},
        {"streaming.tls_ciphers", CONFIG_TEXTS, PLACE(streaming.tls_ciphers), 0, CIPHERS_MAX},
        {"nri.listen", CONFIG_OFF, PLACE(nri.listen)},
        {"stats.collection_period", CONFIG_NUMBER, PLACE(stats.collection_period), 0, SECONDS_MAX},
        {"stats.pod_metrics", CONFIG_POD_METRICS, PLACE(stats.pod_metrics), 0, METRIC_WORDS_MAX},
        {"metrics.listen", CONFIG_ENDPOINT, PLACE(metrics.listen)},
        {"metrics.tls_cert", CONFIG_PATH_OR_NONE, PLACE(metrics.tls_cert)},
        {"metrics.tls_key", CONFIG_PATH_OR_NONE, PLACE(metrics.tls_key)},
        {"metrics.collectors", CONFIG_COLLECTORS, PLACE(metrics.collectors), 0, METRIC_WORDS_MAX},
        {"metrics.crio_names", CONFIG_BOOL, PLACE(metrics.crio_names)},
        {"log.level", CONFIG_LEVEL, PLACE(log.level)},
        {"limits.max_workers", CONFIG_NUMBER, PLACE(limits.max_workers), 1, WORKERS_MAX},
        {"limits.max_message_bytes", CONFIG_NUMBER, PLACE(limits.max_message_bytes), MESSAGE_MIN,
         MESSAGE_MAX},
        {"limits.max_tasks", CONFIG_NUMBER, PLACE(limits.max_tasks), TASKS_MIN, TASKS_MAX},
};
const size_t config_setting_count = sizeof(config_settings) / sizeof(config_settings[0]);

/* Of runtime.handlers.NAME, whose name is not known before. */
const struct config_setting config_handler_settings[] = {
        {"kind", CONFIG_KIND, offsetof(struct config_handler, kind)},
        {"path", CONFIG_PATH, offsetof(struct config_handler, path)},
        {"platform_paths", CONFIG_PLATFORM_PATHS, offsetof(struct config_handler, platform_paths),
         0, PLATFORMS_MAX},
        {"root", CONFIG_PATH, offsetof(struct config_handler, root)},
        {"cni_conf_dir", CONFIG_PATH_OR_NONE, offsetof(struct config_handler, cni_conf_dir)},
        {"seccomp_profile", CONFIG_PATH_OR_NONE, offsetof(struct config_handler, seccomp_profile)},
        {"container_min_memory_kib", CONFIG_NUMBER,
         offsetof(struct config_handler, container_min_memory_kib), 0, MIN_MEMORY_KIB_MAX},
        {"exec_cpu_affinity", CONFIG_AFFINITY, offsetof(struct config_handler, exec_cpu_affinity)},
        {"allowed_annotations", CONFIG_ANNOTATIONS,
         offsetof(struct config_handler, allowed_annotations), 0, ANNOTATIONS_MAX},
        {"default_annotations", CONFIG_PAIRS, offsetof(struct config_handler, default_annotations),
         0, ANNOTATIONS_MAX},
        {"privileged_without_host_devices", CONFIG_BOOL,
         offsetof(struct config_handler, privileged_without_host_devices)},
        {"privileged_without_host_devices_all_devices_allowed", CONFIG_BOOL,
         offsetof(struct config_handler, privileged_without_host_devices_all_devices_allowed)},
        {"cgroup_writable", CONFIG_BOOL, offsetof(struct config_handler, cgroup_writable)},
        {"shim_runtime", CONFIG_PATH_OR_NONE, offsetof(struct config_handler, shim_runtime)},
        {"shim_config", CONFIG_PATH_OR_NONE, offsetof(struct config_handler, shim_config)},
        {"shim_options_type", CONFIG_TEXT_OR_NONE,
         offsetof(struct config_handler, shim_options_type)},
        {"shim_without_sandbox", CONFIG_BOOL,
         offsetof(struct config_handler, shim_without_sandbox)},
        {"shim_sandbox_api", CONFIG_BOOL, offsetof(struct config_handler, shim_sandbox_api)},
        {"create_timeout", CONFIG_NUMBER, offsetof(struct config_handler, create_timeout), 0,
         SECONDS_MAX},
};
const size_t config_handler_setting_count =
        sizeof(config_handler_settings) / sizeof(config_handler_settings[0]);

#define WORKLOAD(field) offsetof(struct config_workload, field)

const struct config_setting config_workload_settings[] = {
        {"activation_annotation", CONFIG_TEXT, WORKLOAD(activation_annotation)},
        {"annotation_prefix", CONFIG_TEXT, WORKLOAD(annotation_prefix)},
        {"allowed_annotations", CONFIG_ANNOTATIONS, WORKLOAD(allowed_annotations), 0,
         ANNOTATIONS_MAX},
};
const size_t config_workload_setting_count =
        sizeof(config_workload_settings) / sizeof(config_workload_settings[0]);

const struct config_setting config_workload_resources[] = {
        {"cpushares", CONFIG_NUMBER, WORKLOAD(cpushares), 0, CPU_SHARES_MAX},
        {"cpuset", CONFIG_CPUS, WORKLOAD(cpuset)},
        {"cpuquota", CONFIG_NUMBER, WORKLOAD(cpuquota), 0, CPU_TIME_MAX},
        {"cpuperiod", CONFIG_NUMBER, WORKLOAD(cpuperiod), 0, CPU_PERIOD_MAX},
        {"cpulimit", CONFIG_NUMBER, WORKLOAD(cpulimit), 0, CPU_TIME_MAX},
};
const size_t config_workload_resource_count =
        sizeof(config_workload_resources) / sizeof(config_workload_resources[0]);
