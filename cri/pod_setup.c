/* What a pod gets: folders, namespaces, the holder of its PID namespace, its network. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/quantity.h"
#include "cri/annotation.h"
#include "cri/confinement.h"
#include "cri/pod.h"
#include "cri/pod_shim.h"
#include "cri/pod_logs.h"
#include "cri/pod_network.h"
#include "cri/pod_sysctl.h"
#include "cri/pod_users.h"
#include "network/namespace.h"
#include "oci/holder.h"
#include "oci/idmap.h"

#define SHM_SIZE        (UINT64_C(64) << 20) /* bytes */
#define SHM_ANNOTATION  "shm-size.crio.io"
#define RESOLV_CONF_MAX (64 * 1024)
#define HOLDER_DEADLINE (10 * NSEC_PER_SEC)

/* ---- on a worker: what blocks on the disk and the kernel ---- */

struct setup {
        struct pod *pod;
        struct error *err;
};

static int write_run_file(struct pod *pod, const char *name, const char *text, struct error *err)
{
        AUTO_FREE char *path = pod_path(pod, name);
        int result = file_replace_volatile(path, text, strlen(text), 0644, err);
        return result < 0 ? result : pod_users_own(pod, path, err);
}

static int write_resolv_conf(struct pod *pod, struct error *err)
{
        const Runtime__V1__DNSConfig *dns = pod_config(pod)->dns_config;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (!dns) {
                int result = file_read("/etc/resolv.conf", RESOLV_CONF_MAX, &text, err);
                if (result < 0 && result != -ENOENT)
                        return result;
                return write_run_file(pod, "resolv.conf", text.data ? text.data : "", err);
        }
        for (size_t i = 0; i < dns->n_searches; i++)
                buffer_printf(&text, "%s%s", i ? " " : "search ", dns->searches[i]);
        if (dns->n_searches)
                buffer_add_text(&text, "\n");
        for (size_t i = 0; i < dns->n_servers; i++)
                buffer_printf(&text, "nameserver %s\n", dns->servers[i]);
        for (size_t i = 0; i < dns->n_options; i++)
                buffer_printf(&text, "%s%s", i ? " " : "options ", dns->options[i]);
        if (dns->n_options)
                buffer_add_text(&text, "\n");
        return write_run_file(pod, "resolv.conf", text.data ? text.data : "", err);
}

static int shm_size(const struct pod *pod, uint64_t *size, struct error *err)
{
        const char *text = annotation_of_pod(pod, SHM_ANNOTATION);
        *size = SHM_SIZE;
        /* A tmpfs of size 0 has no bound. */
        if (text && (quantity_parse(text, size) < 0 || *size == 0))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "annotation " SHM_ANNOTATION
                                 ": \"%.64s\" is no size in bytes like 128Mi",
                                 text);
        return 0;
}

static int make_shm(struct pod *pod, struct error *err)
{
        AUTO_FREE char *path = pod_path(pod, "shm");
        uint64_t size;
        int result = shm_size(pod, &size, err);
        if (result < 0)
                return result;
        AUTO_FREE char *options =
                pod->selinux_mount_label
                        ? xprintf("mode=1777,size=%llu,context=\"%s\"", (unsigned long long)size,
                                  pod->selinux_mount_label)
                        : xprintf("mode=1777,size=%llu", (unsigned long long)size);
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return error_errno(err, errno, "make folder %s", path);
        if (mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
                return error_errno(err, errno, "mount the pod's /dev/shm on %s", path);
        return pod_users_own(pod, path, err);
}

static void effective_hostname(const struct pod *pod, char *name, size_t size)
{
        snprintf(name, size, "%s", pod_config(pod)->hostname);
        if (!*name || !pod_has_network(pod)) {
                if (gethostname(name, size) < 0)
                        snprintf(name, size, "localhost");
                name[size - 1] = '\0';
        }
}

static int pin_namespaces(struct pod *pod, const char *hostname, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        size_t count;
        const struct pod_users *ids = pod->users;
        struct namespace_sysctl *sysctls = pod_sysctls(pod, arena, &count);
        int result = pod_sysctls_to_host(pod, arena, sysctls, count, err);
        if (result < 0)
                return result;
        AUTO_FREE char *uid_map = ids ? idmap_text(ids->uids.maps, ids->uids.count) : NULL;
        AUTO_FREE char *gid_map = ids ? idmap_text(ids->gids.maps, ids->gids.count) : NULL;
        struct namespace_users users = {.program = node.pause_program,
                                        .uid_map = uid_map,
                                        .gid_map = gid_map,
                                        .root = ids ? ids->root_uid : 0};
        struct namespace_options options = {
                .users = ids ? &users : NULL,
                .directory = pod->namespaces,
                .network = pod_has_network(pod),
                .ipc = pod_has_ipc(pod),
                .uts = pod_has_network(pod),
                .hostname = hostname,
                .sysctls = sysctls,
                .sysctl_count = count,
        };
        return namespace_pin(&options, err);
}

/* What its containers get from its folder. */
static int label_files(struct pod *pod, struct error *err)
{
        static const char *const names[] = {"resolv.conf", "hostname"};
        int result = 0;
        for (size_t i = 0; pod->selinux_mount_label && result == 0 && i < 2; i++) {
                AUTO_FREE char *path = pod_path(pod, names[i]);
                result = selinux_set_label(path, pod->selinux_mount_label, err);
        }
        return result;
}

static int set_up_on_worker(void *argument)
{
        struct setup *setup = argument;
        struct pod *pod = setup->pod;
        struct error *err = setup->err;
        char hostname[256];
        AUTO_FREE char *directory = pod_path(pod, "");
        const char *logs = pod_config(pod)->log_directory;

        int result = file_make_directories(directory, 0700, err);
        if (result == 0 && *logs)
                result = file_make_directories(logs, 0755, err);
        if (result == 0)
                result = pod_logs_mount(pod, err);
        if (result == 0)
                result = write_resolv_conf(pod, err);
        if (result < 0)
                return result;
        effective_hostname(pod, hostname, sizeof hostname);
        AUTO_FREE char *line = xprintf("%s\n", hostname);
        result = write_run_file(pod, "hostname", line, err);
        if (result == 0)
                result = label_files(pod, err);
        if (result == 0)
                result = confinement_check_pod(pod, err);
        if (result == 0 && pod_has_ipc(pod))
                result = make_shm(pod, err);
        if (result == 0)
                result = pin_namespaces(pod, hostname, err);
        return result;
}

/* ---- the holder of the PID namespace ---- */

struct holder_cgroup {
        const char *path;
        struct cgroup_leaf *leaf;
        struct error *err;
};

static int make_leaf_on_worker(void *argument)
{
        struct holder_cgroup *holder = argument;
        static const char *const controllers[] = {"pids", "memory", NULL};
        return cgroup_leaf_make(&node.cgroups, holder->path, controllers, holder->leaf,
                                holder->err);
}

struct pid_pin {
        struct pod *pod;
        struct error *err;
};

static int pin_pid_on_worker(void *argument)
{
        struct pid_pin *pin = argument;
        AUTO_FREE char *path = pod_namespace_path(pin->pod, "pid");
        return namespace_pin_process(pin->pod->holder_pid, "pid", path, pin->err);
}

static int start_holder(struct pod *pod, struct error *err)
{
        AUTO_FREE char *name = xprintf("%s-pause", pod->id);
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        AUTO_CGROUP_LEAF struct cgroup_leaf leaf = CGROUP_LEAF_INIT;
        /* The leaf is an ordinary folder with either driver: systemd leaves what it did not make
         * alone. */
        int result = cgroup_place(CGROUP_DRIVER_CGROUPFS, node.config->runtime.monitor_cgroup, name,
                                  &place, err);
        if (result < 0)
                return result;
        struct holder_cgroup cgroup = {.path = place.path, .leaf = &leaf, .err = err};
        result = task_offload(make_leaf_on_worker, &cgroup);
        if (result < 0)
                return result;

        struct cpu_list processors = {0};
        result = cpu_list_parse(node.config->runtime.infra_cpuset, &processors, err);
        if (result < 0)
                return result;
        AUTO_FREE char *user = pod_namespace_path(pod, "user");
        AUTO_FREE char *net = pod_namespace_path(pod, "net");
        AUTO_FREE char *ipc = pod_namespace_path(pod, "ipc");
        AUTO_FREE char *uts = pod_namespace_path(pod, "uts");
        struct holder_start_options options = {
                .program = node.pause_program,
                .user = pod->users ? user : NULL,
                .net = pod_has_network(pod) ? net : NULL,
                .ipc = pod_has_ipc(pod) ? ipc : NULL,
                .uts = pod_has_network(pod) ? uts : NULL,
                .cgroup_fd = leaf.fd,
                .cgroup_v1_tasks = (const char *const *)leaf.tasks,
                .processors = *node.config->runtime.infra_cpuset ? &processors : NULL,
                .deadline = clock_after(HOLDER_DEADLINE),
        };
        result = holder_start(&options, &pod->holder_pid, &pod->holder_start, err);
        if (result < 0)
                return result;
        result = pod_watch_holder(pod, err);
        if (result < 0)
                return result;
        struct pid_pin pin = {.pod = pod, .err = err};
        return task_offload(pin_pid_on_worker, &pin);
}

int pod_set_up(struct pod *pod, struct error *err)
{
        struct setup setup = {.pod = pod, .err = err};
        int result = 0;
        if (pod_has_network(pod)) {
                pod_step(pod, "waiting for the network to become ready");
                result = pod_network_wait(pod, err);
                if (result < 0)
                        return error_context(err, "network");
        }
        pod_step(pod, "making its cgroup parent");
        result = pod_join_cgroup(pod, err);
        if (result < 0)
                return error_context(err, "make its cgroup parent");
        result = confinement_label_pod(pod, err);
        if (result < 0)
                return result;
        pod_step(pod, "making namespaces");
        result = task_offload(set_up_on_worker, &setup);
        if (result < 0)
                return error_context(err, "make namespaces");
        if (pod_shares_pids(pod)) {
                pod_step(pod, "starting crisp-pause");
                result = start_holder(pod, err);
                if (result < 0)
                        return error_context(err, "hold the PID namespace");
        }
        if (pod_has_network(pod)) {
                pod_step(pod, "calling CNI plugins");
                result = pod_network_attach(pod, err);
                if (result < 0)
                        return error_context(err, "network");
        }
        return pod_shim_start(pod, err);
}
