/*
 * config: what the one who runs the daemon may set.
 *
 * /etc/crisp/crisp.toml, then /etc/crisp/crisp.toml.d/NAME.toml in name order; with a file named on
 * the command line, FILE and FILE.d/NAME.toml instead. A later file overrides single keys of an
 * earlier one. An unknown key, a wrong type or a value out of range is an error that names file and
 * line. docs/crisp.toml.5 says the same to the user; keep both in step.
 *
 * A loaded configuration is never changed, so any thread may read it.
 */
#ifndef CRISP_CRI_CONFIG_H
#define CRISP_CRI_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"

/* As Go and the kubelet name it. */
#if defined(__x86_64__)
#define CONFIG_PLATFORM "linux/amd64"
#elif defined(__aarch64__)
#define CONFIG_PLATFORM "linux/arm64"
#else
#error "crisp does not run on this architecture"
#endif

#define CONFIG_HANDLERS_MAX     64
#define CONFIG_HANDLER_NAME_MAX 63  /* bytes: a RuntimeClass handler is a DNS label */
#define CONFIG_SOCKET_PATH_MAX  107 /* bytes: sun_path of unix(7) without its zero */

/* Which of a pod's addresses is its first one. */
enum config_ip_preference { CONFIG_IP_AS_PLUGINS_SAY, CONFIG_IP_V4_FIRST, CONFIG_IP_V6_FIRST };
/* The distribution's seccomp profile, which may be missing, and the AppArmor profile of our own. */
#define CONFIG_SECCOMP_PROFILE  "/usr/share/containers/seccomp.json"
#define CONFIG_APPARMOR_PROFILE "crisp-default"

enum config_cgroup_driver { CONFIG_CGROUP_SYSTEMD, CONFIG_CGROUP_CGROUPFS };

/* What becomes of the volumes that an image declares itself (VOLUME). */
enum config_image_volumes {
        CONFIG_IMAGE_VOLUMES_MKDIR, /* a folder in the container's own writable layer */
        CONFIG_IMAGE_VOLUMES_BIND,  /* a folder beside it, with what the image has there */
        CONFIG_IMAGE_VOLUMES_IGNORE
};

enum config_handler_kind {
        CONFIG_HANDLER_OCI, /* a program with the command line of runc */
        CONFIG_HANDLER_SHIM /* a containerd shim v2 */
};

/* [runtime.handlers.NAME]: what a RuntimeClass's handler NAME runs. */
struct config_handler {
        char *name;
        enum config_handler_kind kind;
        char *path; /* absolute path of the program */
        /* strv of platforms ("linux/arm64") and absolute paths in turn: that of CONFIG_PLATFORM
         * takes path's place; may be null. [] */
        char **platform_paths;
        char *root; /* where the runtime keeps its state (--root); default RUN_DIR/runtimes/NAME */
        /* CNI configurations for its pods; empty: those of network.config_dir. [] */
        char *cni_conf_dir;
        char *seccomp_profile; /* in place of runtime.seccomp_profile, whose value is the default */
        /* KiB that a container's memory limit is at least; 0: none. [12288; 500 for crun] */
        unsigned container_min_memory_kib;
        /* Where commands in a container begin to run: "first", the first of its processors; empty:
         * any of them. [""] */
        char *exec_cpu_affinity;
        /* strv of annotations that pods of this handler may use beside runtime's; may be null. []
         */
        char **allowed_annotations;
        /* strv of keys and values in turn, that each container's specification gets; may be null.
         * [] */
        char **default_annotations;
        /* Privileged containers get no devices of the host but those asked for. [false] */
        bool privileged_without_host_devices;
        /* And yet may open and make any. [false] */
        bool privileged_without_host_devices_all_devices_allowed;
        /* Containers may write to their own cgroup (v2). [false] */
        bool cgroup_writable;
        /* Of kind shim: the OCI runtime that runc's shim drives. [runc] */
        char *shim_runtime;
        char *shim_config;       /* a configuration file that the shim is told of. [""] */
        char *shim_options_type; /* the type of what is in it; the shim's own word. [""] */
        /* The shim gets no sandbox container for a pod; runc's never does. [false] */
        bool shim_without_sandbox;
        /* A pod's sandbox is made by the shim's sandbox API in place of a container. [false] */
        bool shim_sandbox_api;
        /* Seconds for one create, start or delete. [runtime.create_timeout] */
        unsigned create_timeout;
};

#define CONFIG_WORKLOADS_MAX     64
#define CONFIG_WORKLOAD_NAME_MAX 63 /* bytes */

/*
 * [runtime.workloads.NAME]: what containers of pods with an annotation get by default, and may
 * change by another. Numbers that are 0 and an empty cpuset leave what the kubelet says.
 */
struct config_workload {
        char *name;
        char *activation_annotation; /* a pod that has it, with whatever value, is one */
        char *annotation_prefix;     /* PREFIX/CONTAINER holds JSON with other values; or empty */
        char **allowed_annotations;  /* strv, beside its handler's and runtime's; may be null */
        unsigned cpushares;
        unsigned cpuquota;  /* us */
        unsigned cpuperiod; /* us */
        unsigned cpulimit;  /* thousandths of a processor: takes cpuquota's place */
        char *cpuset;
};

/*
 * Strings are never null and paths are absolute, unless a comment says otherwise. Defaults stand in
 * brackets at the end of the comments.
 */
struct config {
        /* What survives a reboot: pods, containers, images. [/var/lib/crisp] */
        char *state_dir;
        /* What is gone after a reboot: sockets, pinned namespaces, the lock. [/run/crisp] */
        char *run_dir;

        struct {
                /* Path of the CRI socket. [RUN_DIR/crisp.sock] */
                char *listen;
        } api;

        struct {
                /* CNI configurations. [/etc/cni/net.d] */
                char *config_dir;
                /* strv of one or more folders, searched in order. [/opt/cni/bin, /usr/lib/cni,
                 * /usr/libexec/cni] */
                char **plugin_dirs;
                /* Seconds for one invocation of a network's chain of plugins. [60] */
                unsigned timeout;
                /* Name of the network that pods get; empty: the first in the order of file names.
                 * [] */
                char *default_network;
                /* Networks that a pod is connected to, eth0 and on; 0: all there are. [1] */
                unsigned max_conf_num;
                /* Seconds that RunPodSandbox waits for the network to become ready. [60] */
                unsigned ready_timeout;
                /* Seconds that plugins may say they are not ready before the node says so. [0] */
                unsigned status_grace_period;
                /* [cni] */
                enum config_ip_preference ip_preference;
                /* Host ports are left to others. [false] */
                bool disable_hostport_mapping;
                /* A template of a CNI configuration, rendered when UpdateRuntimeConfig tells the
                 * pods' ranges; empty: none. [] */
                char *conf_template;
        } network;

        struct {
                /* Where images are kept. [STATE_DIR/images] */
                char *dir;
                /* strv of other crisps' image folders, which are only read; the first that has an
                 * image counts; may be null. [] */
                char **additional_stores;
                /* A file as of containers-registries.conf(5); it may be missing.
                 * [/etc/containers/registries.conf] */
                char *registries_conf;
                /* strv of folders with HOST/hosts.toml, searched in order; may be empty.
                 * [/etc/containerd/certs.d] */
                char **hosts_dirs;
                /* strv of folders with HOST/ and certificates in it, searched in order; may be
                 * empty. [/etc/containers/certs.d, /etc/docker/certs.d] */
                char **certs_dirs;
                /*
                 * strv of files as of containers-auth.json(5), the first that has credentials for
                 * a registry counts; those that are missing are passed over. [where `podman login`
                 * and `docker login` leave them for root: /run/containers/0/auth.json,
                 * /root/.config/containers/auth.json, /root/.docker/config.json]
                 */
                char **auth_files;
                /* Where NAMESPACE-SHA256.json is looked for: the auth file of one pull.
                 * [/etc/crisp/auth] */
                char *namespaced_auth_dir;
                /* Seconds for one run of a docker-credential-NAME. [30] */
                unsigned credential_helper_timeout;
                /* What images must be signed by; not there: nothing need be.
                 * [/etc/containers/policy.json] */
                char *signature_policy;
                /* NAMESPACE.json counts instead of it for pods of that namespace.
                 * [/etc/crisp/policies] */
                char *signature_policy_dir;
                /* Where signatures are. [/etc/containers/registries.d] */
                char *registries_d;
                /* Programs that must let an image in before it is pulled; empty: none. [] */
                char *verifier_dir;
                /* Seconds for one of them. [10] */
                unsigned verifier_timeout;
                /* Folder of private keys for encrypted layers; it may be missing.
                 * [/etc/crisp/keys] */
                char *decryption_keys_dir;
                /* strv of images that the kubelet shall not collect: names in full, of which *
                 * stands for any characters; may be empty. [] */
                char **pinned;
                /* The cgroup that pulls run in: a path, a slice, or "pod", the pod's that the
                 * image is for; empty: the daemon's. [] */
                char *pull_cgroup;
                /* Pulls under way at a time; further ones wait. [4] */
                unsigned max_parallel_pulls;
                /* Layers of one pull that download at a time. [3] */
                unsigned max_parallel_layers;
                /* Seconds without a byte after which a download is given up. [60] */
                unsigned pull_stall_timeout;
                /* Bytes a second that a download brings at least, over each pull_stall_timeout.
                 * [1024] */
                unsigned min_pull_rate;
                /* MiB of the image store's file system that pulls leave free; 0: none. [512] */
                unsigned disk_reserve_mib;
                /* Files, folders, links and so on in one layer. [2000000] */
                unsigned max_layer_entries;
                /* MiB of one layer, unpacked. [65536] */
                unsigned max_layer_mib;
        } images;

        struct {
                /* Name of one of handlers: for pods that name none. [crun where it is installed,
                 * else runc] */
                char *default_handler;
                /* [systemd where it runs, else cgroupfs] */
                enum config_cgroup_driver cgroup_driver;
                /* Seconds for one create, start or delete by a handler's program. [120] */
                unsigned create_timeout;
                /* The root is put in place by moving mounts and chroot, where it cannot be by
                 * pivot_root: on a ramdisk. [false] */
                bool no_pivot;
                /* The monitors' cgroup, seen from the root of each hierarchy. [/crisp-monitors] */
                char *monitor_cgroup;
                /* Where pods' namespaces are pinned, each pod's in a folder of its id; empty: in
                 * its run folder. [] */
                char *namespaces_dir;
                /* strv of "name=value" that pods get unless they say otherwise; may be empty. [] */
                char **default_sysctls;
                /* Everybody in a pod may bind ports below 1024, and send pings. [true] */
                bool enable_unprivileged_ports;
                bool enable_unprivileged_icmp;
                /* Seconds that a pod or container whose client went away while it was made waits
                 * for the one who asks again. [600] */
                unsigned unclaimed_timeout;
                /* Seconds after SIGKILL until a container that has not ended is told as an error.
                 * [10] */
                unsigned stop_timeout;
                /* Bytes of a container's log after which it starts anew; 0: the kubelet alone
                 * rotates. [0] */
                unsigned log_size_max;
                /* Files that such a log has at most, with those that it was before. [2] */
                unsigned log_files_max;
                /* Bytes of a line in a log; a longer one is cut into parts. [16384] */
                unsigned log_line_max;
                /* Whether each line of a container goes to journald too. [false] */
                bool log_to_journald;
                /* Where journald listens. [/run/systemd/journal/socket] */
                char *journald_socket;
                /* The kubelet's own folder, in which the pods' volumes are. [/var/lib/kubelet] */
                char *kubelet_dir;
                /* Processes and threads that a container may have; 0: as many as it likes. [0] */
                unsigned pids_limit;
                /* Processors that crisp-pause runs on; empty: any. [""] */
                char *infra_cpuset;
                /* Processors that containers with cpu-shared.crio.io get beside their own. [""] */
                char *shared_cpuset;
                /* The least GOMAXPROCS that containers without a limit of processor time get; 0:
                 * none get one. [0] */
                unsigned min_injected_gomaxprocs;
                /* irqbalance's variables, where processors are banned; empty: not touched.
                 * [/etc/default/irqbalance] */
                char *irqbalance_config_file;
                /* Classes of block I/O, as of goresctrl; empty: none. [""] */
                char *blockio_config_file;
                /* Classes of cache and memory bandwidth, as of goresctrl; empty: none. [""] */
                char *rdt_config_file;
                /* Sorted by name; null when there are none. [none] */
                struct config_workload *workloads;
                size_t workload_count;
                /* strv of annotations that pods may use (annotation.h); may be null.
                 * [io.containers.trace-syscall, devices.crio.io] */
                char **allowed_annotations;
                /* strv of devices that every container gets, "SOURCE[:DESTINATION][:ACCESS]"; may
                 * be null. [] */
                char **additional_devices;
                /* strv of devices of the host that pods may ask for by annotation; may be null.
                 * [/dev/fuse, /dev/net/tun] */
                char **allowed_devices;
                /* Devices belong to the container's run_as_user and run_as_group. [false] */
                bool device_ownership_from_security_context;
                /* strv of folders with CDI specifications, a later one goes before; may be null.
                 * [/etc/cdi, /run/cdi] */
                char **cdi_spec_dirs;
                /* strv of folders with OCI hooks, a later one's file takes the place of one of the
                 * same name; may be null.
                 * [/usr/share/containers/oci/hooks.d, /etc/containers/oci/hooks.d] */
                char **hooks_dir;
                /* strv of "NAME=value" for every container, below the image's; may be null. [] */
                char **default_env;
                /* strv of "nofile=SOFT:HARD" for every container; may be null. [] */
                char **default_ulimits;
                /* Of every container's /etc/localtime: "" leaves the image's, "local" is the
                 * node's, else a zone's name. [""] */
                char *timezone;
                /* strv of paths that are not made on the host where a mount wants them and they are
                 * missing; may be null. [] */
                char **absent_mount_sources_to_reject;
                /* Folder that mounts' host paths are looked for in; empty: the root. [""] */
                char *bind_mount_prefix;
                /* A file as of containers-mounts.conf(5); empty: /etc/containers/mounts.conf, or
                 * else /usr/share/containers/mounts.conf. [""] */
                char *default_mounts_file;
                /* Every container's root is read-only, but for /run, /tmp and /var/tmp. [false] */
                bool read_only;
                /* [mkdir] */
                enum config_image_volumes image_volumes;
                /* One or more, sorted by name. [crun, crun-wasm, runc and youki,
                 * those that are installed] */
                struct config_handler *handlers;
                size_t handler_count;
                /* RuntimeDefault's seccomp profile, a file; empty is crisp's own.
                 * [/usr/share/containers/seccomp.json, or crisp's own where that is missing] */
                char *seccomp_profile;
                /* That of privileged containers, a file; empty is none. [""] */
                char *privileged_seccomp_profile;
                /* Where profiles are that are named by a relative path. [/var/lib/kubelet/seccomp]
                 */
                char *seccomp_root;
                /* RuntimeDefault's AppArmor profile; "unconfined" is none. [crisp-default] */
                char *apparmor_profile;
                /* strv of names as "CAP_CHOWN" or "chown", may be empty.
                 * [SPEC_DEFAULT_CAPABILITIES] */
                char **default_capabilities;
                /* Whether capabilities are inheritable, too. [false] */
                bool add_inheritable_capabilities;
                /* Whether pods get SELinux labels, where the kernel has SELinux. [true] */
                bool selinux;
                /* Whether containers with the host's network run without a process label. [true] */
                bool hostnetwork_disable_selinux;
                /* User namespaces, "CONTAINER:HOST:LENGTH,..." each: of pods that say nothing of
                 * theirs. Both, or neither. [""] */
                char *uid_mappings, *gid_mappings;
                /* The lowest IDs of the host that a pod may have mapped by what it asks for; 0 for
                 * any that its users are. [0] */
                unsigned minimum_mappable_uid, minimum_mappable_gid;
                /* "FIRST:LENGTH" of the host's IDs from which pods get their own by annotation; ""
                 * for those of the user "containers" in /etc/subuid and /etc/subgid. [""] */
                char *userns_range;
        } runtime;

        struct {
                /* IPv4 or IPv6 address that exec, attach and port-forward listen on. [127.0.0.1] */
                char *address;
                /* 0 is any that is free. [0] */
                unsigned port;
                /* Seconds without a byte after which a session ends. [14400] */
                unsigned idle_timeout;
                /* Open at a time. [1024] */
                unsigned max_sessions;
                /* PEM files of the certificate, with its chain, and its key; empty is no TLS. [""]
                 */
                char *tls_cert, *tls_key;
                /* PEM file of certificates, of one of which clients need one; or empty. [""] */
                char *tls_client_ca;
                /* 1.2 or 1.3. ["1.2"] */
                char *tls_min_version;
                /* Cipher suites by IANA's or OpenSSL's names; empty is OpenSSL's default. [[]] */
                char **tls_ciphers;
        } streaming;

        struct {
                /* Path of the NRI socket; empty is off, and nothing else is supported in this
                 * version. [""] */
                char *listen;
        } nri;

        struct {
                /* Seconds between two samples of what containers use, while somebody asks for
                 * it; 0: only what requests read is compared. [10] */
                unsigned collection_period;
                /* strv: groups of pod_metrics_groups, or all. [all] */
                char **pod_metrics;
        } stats;

        struct {
                /* ADDRESS:PORT or the path of a socket, where metrics are served; empty is off.
                 * [""] */
                char *listen;
                /* Files of a certificate with its chain and of its key: served by TLS; both or
                 * neither. [""] */
                char *tls_cert, *tls_key;
                /* strv: collectors of cri/metrics.h, or all. [all] */
                char **collectors;
                /* Also under the names that CRI-O's metrics have. [false] */
                bool crio_names;
        } metrics;

        struct {
                /* What is below this level is not written. [info] */
                enum log_level level;
        } log;

        struct {
                /* Threads for what blocks (task_offload). [64] */
                unsigned max_workers;
                /* Bytes of a gRPC message, each way. [16 MiB] */
                unsigned max_message_bytes;
                /* Requests under way at a time; further ones are refused. [10000] */
                unsigned max_tasks;
        } limits;
};

/*
 * Loads the configuration. path is the file named on the command line, which must exist, or null
 * for the default one, which need not. The caller gives *config back with config_free.
 * INVALID_ARGUMENT "FILE:LINE: ..." for what is wrong in a file; else why one cannot be read.
 * Blocks on the disk.
 */
int config_load(const char *path, struct config **config, struct error *err);

void config_free(struct config *config); /* null is allowed */

/*
 * Writes the whole configuration, with every default, as TOML that config_load reads into the same
 * values. The caller checks the stream for errors.
 */
void config_print(const struct config *config, FILE *out);

/* The handler of this name; the default one for the empty name; null when there is none. Borrowed
 * from config. */
const struct config_handler *config_handler_find(const struct config *config, const char *name);

/* ns that a call of the handler's program may take; of none (null) runtime.create_timeout's. */
int64_t config_create_timeout(const struct config *config, const char *handler);

/* "systemd" or "cgroupfs". */
const char *config_cgroup_driver_name(enum config_cgroup_driver driver);

static inline void cleanup_config(struct config **config)
{
        config_free(*config);
}
#define AUTO_CONFIG CLEANUP(cleanup_config)

#endif
