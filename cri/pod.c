#include "cri/pod.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "cri/lookup.h"
#include "cri/pod_resources.h"
#include "cri/pod_users.h"
#include "cri/record.h"
#include "cri/stats_source.h"
#include "network/namespace.h"

struct pod *pod_new(const char *id, const Runtime__V1__RunPodSandboxRequest *request)
{
        struct pod *pod = xcalloc(1, sizeof *pod);
        pod->refs = 1;
        pod->holder_fd = -1;
        memcpy(pod->id, id, sizeof pod->id);
        pod->arena = arena_new();
        pod->request = (Runtime__V1__RunPodSandboxRequest *)record_copy_message(pod->arena,
                                                                                &request->base);
        const Runtime__V1__PodSandboxMetadata *metadata = pod->request->config->metadata;
        /* None of the parts may hold a slash: that was checked before. */
        pod->name = xprintf("%s/%s/%s/%u", metadata->namespace_, metadata->name, metadata->uid,
                            metadata->attempt);
        pod->namespaces = pod_path(pod, "ns");
        return pod;
}

struct pod *pod_ref(struct pod *pod)
{
        pod->refs++;
        return pod;
}

void pod_unref(struct pod *pod)
{
        if (!pod || --pod->refs)
                return;
        timer_free(pod->unclaimed_timer);
        watch_free(pod->holder_watch);
        stats_source_unref(pod->stats);
        if (pod->holder_fd >= 0)
                close(pod->holder_fd);
        strv_free(pod->ips);
        pod_users_free(pod->users);
        free(pod->namespaces);
        free(pod->parent_made);
        free(pod->selinux_label);
        free(pod->selinux_mount_label);
        free(pod->failure);
        free(pod->name);
        arena_free(pod->resources_arena);
        arena_free(pod->arena);
        free(pod);
}

void pod_publish(struct pod *pod)
{
        table_put(node.pods, pod->id, pod_ref(pod));
        table_put(node.pod_names, pod->name, pod);
}

void pod_withdraw(struct pod *pod)
{
        pod->phase = POD_REMOVED;
        event_signal(&pod->settled);
        timer_free(take_ptr(pod->unclaimed_timer));
        if (table_get(node.pod_names, pod->name) == pod)
                table_remove(node.pod_names, pod->name);
        events_tell_pod(pod, EVENT_DELETED);
        if (table_remove(node.pods, pod->id))
                pod_unref(pod);
}

bool pod_is_listed(const struct pod *pod)
{
        return pod->claimed && (pod->phase == POD_READY || pod->phase == POD_NOTREADY);
}

static bool is_known(const void *object)
{
        const struct pod *pod = object;
        return pod->phase == POD_READY || pod->phase == POD_NOTREADY;
}

int pod_find(const char *id, struct pod **pod, struct error *err)
{
        void *found;
        int result =
                lookup_id(node.pods, "pod sandbox", "pod_sandbox_id", id, is_known, &found, err);
        if (result == 0)
                *pod = pod_ref(found);
        return result;
}

void pod_step(struct pod *pod, const char *step)
{
        pod->step = step;
        pod->step_since = clock_real();
}

const Runtime__V1__NamespaceOption *pod_namespaces(const struct pod *pod)
{
        static const Runtime__V1__NamespaceOption none = RUNTIME__V1__NAMESPACE_OPTION__INIT;
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(pod)->linux;
        if (config && config->security_context && config->security_context->namespace_options)
                return config->security_context->namespace_options;
        return &none;
}

bool pod_has_network(const struct pod *pod)
{
        return pod_namespaces(pod)->network != RUNTIME__V1__NAMESPACE_MODE__NODE;
}

bool pod_shares_pids(const struct pod *pod)
{
        /* POD is the zero value, and what a request without any namespace options means. */
        return pod_namespaces(pod)->pid == RUNTIME__V1__NAMESPACE_MODE__POD;
}

bool pod_has_ipc(const struct pod *pod)
{
        return pod_namespaces(pod)->ipc != RUNTIME__V1__NAMESPACE_MODE__NODE;
}

char *pod_path(const struct pod *pod, const char *name)
{
        return xprintf("%s/%s%s%s", node.run_pods_dir, pod->id, *name ? "/" : "", name);
}

char *pod_namespace_path(const struct pod *pod, const char *kind)
{
        return xprintf("%s/%s", pod->namespaces, kind);
}

const char *pod_cgroup_parent(const struct pod *pod)
{
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(pod)->linux;
        return config ? config->cgroup_parent : "";
}

/* ---- the record ---- */

static const char *const phase_names[] = {
        [POD_CREATING] = "creating",
        [POD_READY] = "ready",
        [POD_NOTREADY] = "notready",
        [POD_REMOVED] = "removed",
};

json_t *pod_record(const struct pod *pod)
{
        json_t *ips = json_array();
        for (size_t i = 0; pod->ips && pod->ips[i]; i++)
                json_array_append_new(ips, json_string(pod->ips[i]));
        json_t *record = json_object();
        json_object_set_new(record, "phase", json_string(phase_names[pod->phase]));
        json_object_set_new(record, "created_at", json_integer(pod->created_at));
        json_object_set_new(record, "boot_id", json_string(node.boot_id));
        /* One that the configuration lost may come back: the default would not know its containers.
         */
        json_object_set_new(
                record, "handler",
                json_string(pod->handler ? pod->handler->name : pod->request->runtime_handler));
        json_object_set_new(record, "ips", ips);
        json_object_set_new(record, "namespaces", json_string(pod->namespaces));
        if (pod->selinux_label) {
                json_object_set_new(record, "selinux_label", json_string(pod->selinux_label));
                json_object_set_new(record, "selinux_mount_label",
                                    json_string(pod->selinux_mount_label));
        }
        json_object_set_new(record, "attached", json_boolean(pod->attached));
        json_object_set_new(record, "torn_down", json_boolean(pod->torn_down));
        if (pod->parent_made)
                json_object_set_new(record, "cgroup_parent_made", json_string(pod->parent_made));
        pod_resources_put(pod, record);
        pod_users_put(pod, record);
        json_object_set_new(record, "holder_pid", json_integer(pod->holder_pid));
        json_object_set_new(record, "holder_start", json_integer((json_int_t)pod->holder_start));
        return record;
}

int pod_save(struct pod *pod, bool durable, struct error *err)
{
        AUTO_JSON json_t *record = pod_record(pod);
        return record_replace(node.pods_dir, pod->id, record, durable, err);
}

static void save_task(void *argument)
{
        AUTO_POD struct pod *pod = argument;
        struct error err;
        task_lock(&pod->lock, CLOCK_NEVER);
        if (pod->phase != POD_REMOVED && pod_save(pod, false, &err) < 0)
                log_failure(&err, "the pod's record is not up to date", "pod", pod->id, NULL);
        task_unlock(&pod->lock);
}

void pod_save_later(struct pod *pod)
{
        task_start("save pod", save_task, pod_ref(pod));
}

int pod_restore(struct pod *pod, const json_t *record, struct error *err)
{
        static const char place[] = "record.json";
        const char *phase = "", *handler = "", *boot_id = "", *parent_made = NULL;
        const char *namespaces = NULL, *label = NULL, *mount_label = NULL;
        int64_t created_at = 0, holder_pid = 0, holder_start = 0;
        bool attached = true, torn_down = false;
        char **ips = NULL;
        if (json_get_string(record, "phase", place, &phase, err) < 0 ||
            json_get_string(record, "handler", place, &handler, err) < 0 ||
            json_get_string(record, "boot_id", place, &boot_id, err) < 0 ||
            json_get_int(record, "created_at", place, &created_at, err) < 0 ||
            json_get_int(record, "holder_pid", place, &holder_pid, err) < 0 ||
            json_get_int(record, "holder_start", place, &holder_start, err) < 0 ||
            json_get_bool(record, "attached", place, &attached, err) < 0 ||
            json_get_bool(record, "torn_down", place, &torn_down, err) < 0 ||
            json_get_string(record, "cgroup_parent_made", place, &parent_made, err) < 0 ||
            json_get_string(record, "namespaces", place, &namespaces, err) < 0 ||
            json_get_string(record, "selinux_label", place, &label, err) < 0 ||
            json_get_string(record, "selinux_mount_label", place, &mount_label, err) < 0 ||
            pod_resources_restore(pod, record, err) < 0 ||
            pod_users_restore(pod, record, err) < 0 ||
            json_get_strings(record, "ips", place, &ips, err) < 0)
                return err->number;
        pod->phase = strcmp(phase, "ready") == 0      ? POD_READY
                     : strcmp(phase, "creating") == 0 ? POD_CREATING
                                                      : POD_NOTREADY;
        pod->told = pod->phase == POD_NOTREADY ? EVENT_STOPPED : EVENT_STARTED;
        /* Namespaces and processes do not outlive a boot; leases of addresses do, and go with the
         * teardown. */
        if (strcmp(boot_id, node.boot_id) != 0) {
                holder_pid = 0;
                if (pod->phase == POD_READY)
                        pod->phase = POD_NOTREADY;
        }
        pod->handler = NULL;
        node_handler(handler, &pod->handler, NULL);
        pod->created_at = created_at;
        pod->holder_pid = (pid_t)holder_pid;
        pod->holder_start = (uint64_t)holder_start;
        pod->attached = attached;
        pod->torn_down = torn_down;
        pod->parent_made = xstrdup(parent_made);
        /* Records of before the place could be chosen have none: they are where they always were.
         */
        if (namespaces && *namespaces == '/') {
                free(pod->namespaces);
                pod->namespaces = xstrdup(namespaces);
        }
        pod->selinux_label = xstrdup(label);
        pod->selinux_mount_label = xstrdup(mount_label);
        pod->ips = ips;
        pod->claimed = true;
        return 0;
}

/* ---- whether it is still there ---- */

static void end(struct pod *pod, const char *why)
{
        if (pod->phase != POD_READY)
                return;
        pod->phase = POD_NOTREADY;
        log_warning("pod is not ready any more", "pod", pod->id, "reason", why, NULL);
        events_tell_pod(pod, EVENT_STOPPED);
        /* So that the next daemon does not tell it again. */
        pod_save_later(pod);
}

static void holder_ended(void *argument, uint32_t events)
{
        (void)events;
        struct pod *pod = argument;
        watch_free(take_ptr(pod->holder_watch));
        if (!pod->stopping)
                end(pod, "the holder of its PID namespace has ended");
}

int pod_watch_holder(struct pod *pod, struct error *err)
{
        int fd = process_open(pod->holder_pid, pod->holder_start);
        if (fd < 0)
                return error_errno(err, fd, "holder of the PID namespace, process %d",
                                   (int)pod->holder_pid);
        pod->holder_fd = fd;
        pod->holder_watch = watch_new(fd, EPOLLIN, holder_ended, pod, err);
        return pod->holder_watch ? 0 : err->number;
}

void pod_check(struct pod *pod)
{
        if (pod->phase != POD_READY || pod->stopping || !pod_has_network(pod))
                return;
        AUTO_FREE char *path = pod_namespace_path(pod, "net");
        if (!namespace_is_pinned(path))
                end(pod, "its network namespace has gone");
}
