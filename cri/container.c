#include "cri/container.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/image_volume.h"
#include "cri/lookup.h"
#include "cri/record.h"
#include "oci/shim.h"
#include "cri/seccomp_notifier.h"
#include "cri/stats_source.h"
#include "cri/resources.h"

#define GIDS_MAX 65536 /* what the kernel takes */

struct container *container_new(const char *id, struct pod *pod,
                                const Runtime__V1__CreateContainerRequest *request)
{
        struct container *container = xcalloc(1, sizeof *container);
        container->refs = 1;
        container->pidfd = -1;
        memcpy(container->id, id, sizeof container->id);
        container->pod = pod_ref(pod);
        container->arena = arena_new();
        container->request = (Runtime__V1__CreateContainerRequest *)record_copy_message(
                container->arena, &request->base);
        const Runtime__V1__ContainerMetadata *metadata = container->request->config->metadata;
        container->name = xprintf("%s/%s/%u", pod->id, metadata->name, metadata->attempt);
        return container;
}

struct container *container_ref(struct container *container)
{
        container->refs++;
        return container;
}

void container_unref(struct container *container)
{
        if (!container || --container->refs)
                return;
        timer_free(container->unclaimed_timer);
        monitor_free(container->monitor);
        stats_source_unref(container->stats);
        if (container->pidfd >= 0)
                close(container->pidfd);
        pod_unref(container->pod);
        free(container->failure);
        free(container->listed);
        free(container->gids);
        free(container->log_path);
        free(container->cgroup_path);
        free(container->image_name);
        free(container->image_id);
        strv_free(container->volume_ids);
        seccomp_notifier_close(container);
        free(container->forbidden_calls);
        free(container->message);
        free(container->name);
        arena_free(container->resources_arena);
        arena_free(container->arena);
        free(container);
}

void container_publish(struct container *container)
{
        table_put(node.containers, container->id, container_ref(container));
        table_put(node.container_names, container->name, container);
        container->next = container->pod->containers;
        container->pod->containers = container;
        if (container->pod->handler && container->pod->handler->kind == RUNTIME_KIND_SHIM) {
                AUTO_FREE char *bundle = container_state_path(container, "bundle");
                shim_know_task(container->id, container->pod->id, bundle);
        }
}

void container_withdraw(struct container *container)
{
        container->phase = CONTAINER_REMOVED;
        /* What a crash left half made is dropped without having settled otherwise. */
        event_signal(&container->settled);
        timer_free(take_ptr(container->unclaimed_timer));
        shim_forget_task(container->id);
        if (table_get(node.container_names, container->name) == container)
                table_remove(node.container_names, container->name);
        for (struct container **link = &container->pod->containers; *link; link = &(*link)->next) {
                if (*link == container) {
                        *link = container->next;
                        break;
                }
        }
        if (container->image_id)
                store_release(node.images, container->image_id, container->id);
        image_volumes_release(container);
        events_tell_container(container, EVENT_DELETED);
        if (table_remove(node.containers, container->id))
                container_unref(container);
}

static bool is_known(const void *object)
{
        const struct container *container = object;
        return container->phase != CONTAINER_CREATING && container->phase != CONTAINER_REMOVED;
}

bool container_is_listed(const struct container *container)
{
        return container->claimed && is_known(container);
}

int container_find(const char *id, struct container **container, struct error *err)
{
        void *found;
        int result =
                lookup_id(node.containers, "container", "container_id", id, is_known, &found, err);
        if (result == 0)
                *container = container_ref(found);
        return result;
}

int64_t container_runtime_patience(const struct container *container)
{
        const struct runtime_handler *handler = container->pod->handler;
        return config_create_timeout(node.config, handler ? handler->name : NULL);
}

void container_step(struct container *container, const char *step)
{
        container->step = step;
        container->step_since = clock_real();
}

bool container_may_run(const struct container *container)
{
        return container->phase == CONTAINER_STARTING || container->phase == CONTAINER_RUNNING;
}

const Runtime__V1__LinuxContainerSecurityContext *
container_security(const struct container *container)
{
        static const Runtime__V1__LinuxContainerSecurityContext none =
                RUNTIME__V1__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
        const Runtime__V1__LinuxContainerConfig *config = container_config(container)->linux;
        return config && config->security_context ? config->security_context : &none;
}

char *container_state_path(const struct container *container, const char *name)
{
        return xprintf("%s/%s%s%s", node.containers_dir, container->id, *name ? "/" : "", name);
}

char *container_run_path(const struct container *container, const char *name)
{
        return xprintf("%s/%s%s%s", node.run_containers_dir, container->id, *name ? "/" : "", name);
}

int container_require_running(const struct container *container, struct error *err)
{
        static const char *const words[] = {
                [CONTAINER_CREATING] = "is being created",
                [CONTAINER_CREATED] = "was created and not started",
                [CONTAINER_STARTING] = "is being started",
                [CONTAINER_RUNNING] = "runs",
                [CONTAINER_EXITED] = "has exited",
                [CONTAINER_REMOVED] = "was removed",
        };
        if (container->phase == CONTAINER_RUNNING)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION, "container %s %s: it must be running",
                         container->id, words[container->phase]);
}

/* ---- the record ---- */

static const char *const phase_names[] = {
        [CONTAINER_CREATING] = "creating", [CONTAINER_CREATED] = "created",
        [CONTAINER_STARTING] = "starting", [CONTAINER_RUNNING] = "running",
        [CONTAINER_EXITED] = "exited",     [CONTAINER_REMOVED] = "removed",
};

static const char *const reasons[] = {"Completed",  "Error",   "OOMKilled",
                                      "StartError", "Unknown", SECCOMP_NOTIFIER_REASON};

static json_t *volume_ids(const struct container *container)
{
        json_t *ids = json_array();
        for (char **id = container->volume_ids; *id; id++)
                json_array_append_new(ids, json_string(*id));
        return ids;
}

json_t *container_record(const struct container *container)
{
        json_t *gids = json_array();
        for (size_t i = 0; i < container->gid_count; i++)
                json_array_append_new(gids, json_integer(container->gids[i]));
        json_t *record = json_object();
        json_object_set_new(record, "phase", json_string(phase_names[container->phase]));
        json_object_set_new(record, "pod", json_string(container->pod->id));
        json_object_set_new(record, "boot_id", json_string(node.boot_id));
        json_object_set_new(record, "created_at", json_integer(container->created_at));
        json_object_set_new(record, "started_at", json_integer(container->started_at));
        json_object_set_new(record, "finished_at", json_integer(container->finished_at));
        json_object_set_new(record, "exit_code", json_integer(container->exit_code));
        if (container->reason)
                json_object_set_new(record, "reason", json_string(container->reason));
        if (container->message)
                json_object_set_new(record, "message", json_string(container->message));
        json_object_set_new(record, "image_id", json_string(container->image_id));
        json_object_set_new(record, "image_name", json_string(container->image_name));
        if (container->volume_ids)
                json_object_set_new(record, "volume_ids", volume_ids(container));
        json_object_set_new(record, "cgroup_path", json_string(container->cgroup_path));
        if (container->log_path)
                json_object_set_new(record, "log_path", json_string(container->log_path));
        json_object_set_new(record, "uid", json_integer(container->uid));
        json_object_set_new(record, "gid", json_integer(container->gid));
        json_object_set_new(record, "gids", gids);
        json_object_set_new(record, "stop_signal", json_integer(container->stop_signal));
        resources_put(record, "resources", container->resources);
        resources_put(record, "resources_wanted", container->resources_wanted);
        json_object_set_new(record, "bundle_outdated", json_boolean(container->bundle_outdated));
        json_object_set_new(record, "clean", json_boolean(container->clean));
        if (container->seccomp_notifies)
                json_object_set_new(record, "seccomp_notifies", json_true());
        if (container->forbidden_calls)
                json_object_set_new(record, "forbidden_calls",
                                    json_string(container->forbidden_calls));
        json_object_set_new(record, "pid", json_integer(container->pid));
        json_object_set_new(record, "start_time", json_integer((json_int_t)container->start_time));
        return record;
}

int container_save(struct container *container, bool durable, struct error *err)
{
        AUTO_JSON json_t *record = container_record(container);
        return record_replace(node.containers_dir, container->id, record, durable, err);
}

int container_save_run(struct container *container, struct error *err)
{
        AUTO_JSON json_t *record = container_record(container);
        return record_replace(node.run_containers_dir, container->id, record, false, err);
}

static void save_task(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        task_lock(&container->lock, CLOCK_NEVER);
        if (container->phase != CONTAINER_REMOVED && container_save(container, false, &err) < 0)
                log_failure(&err, "the container's record is not up to date", "container",
                            container->id, NULL);
        task_unlock(&container->lock);
}

void container_save_later(struct container *container)
{
        task_start("save container", save_task, container_ref(container));
}

static int restore_gids(struct container *container, const json_t *record, struct error *err)
{
        json_t *gids;
        int result = json_get_array(record, "gids", "record.json", &gids, err);
        if (result < 0 || !gids)
                return result;
        size_t count = json_array_size(gids);
        if (count > GIDS_MAX)
                return error_set(err, ERROR_DATA_LOSS, "record.json: %zu groups", count);
        container->gids = xcalloc(count, sizeof *container->gids);
        for (size_t i = 0; i < count; i++)
                container->gids[i] = (uint32_t)json_integer_value(json_array_get(gids, i));
        container->gid_count = count;
        return 0;
}

/* A record of before there were such has what the request said. */
static int restore_resources(struct container *container, const json_t *record, struct error *err)
{
        const Runtime__V1__LinuxContainerConfig *config = container_config(container)->linux;
        int result =
                resources_get(record, "resources", container->arena, &container->resources, err);
        if (result == 0)
                result = resources_get(record, "resources_wanted", container->arena,
                                       &container->resources_wanted, err);
        if (result == 0 && !container->resources)
                container->resources =
                        resources_copy(container->arena, config ? config->resources : NULL);
        return result;
}

int container_restore(struct container *container, const json_t *record, struct error *err)
{
        static const char place[] = "record.json";
        const char *phase = "", *boot_id = "", *reason = NULL, *message = NULL, *image_id = NULL;
        const char *image_name = NULL, *cgroup_path = NULL, *log_path = NULL;
        const char *forbidden_calls = NULL;
        int64_t exit_code = 0, uid = 0, gid = 0, stop_signal = SIGTERM, pid = 0, start_time = 0;
        if (json_get_string(record, "phase", place, &phase, err) < 0 ||
            json_get_string(record, "boot_id", place, &boot_id, err) < 0 ||
            json_get_int(record, "created_at", place, &container->created_at, err) < 0 ||
            json_get_int(record, "started_at", place, &container->started_at, err) < 0 ||
            json_get_int(record, "finished_at", place, &container->finished_at, err) < 0 ||
            json_get_int(record, "exit_code", place, &exit_code, err) < 0 ||
            json_get_string(record, "reason", place, &reason, err) < 0 ||
            json_get_string(record, "message", place, &message, err) < 0 ||
            json_get_string(record, "image_id", place, &image_id, err) < 0 ||
            json_get_string(record, "image_name", place, &image_name, err) < 0 ||
            json_get_string(record, "cgroup_path", place, &cgroup_path, err) < 0 ||
            json_get_string(record, "log_path", place, &log_path, err) < 0 ||
            json_get_int(record, "uid", place, &uid, err) < 0 ||
            json_get_int(record, "gid", place, &gid, err) < 0 ||
            json_get_int(record, "stop_signal", place, &stop_signal, err) < 0 ||
            json_get_bool(record, "clean", place, &container->clean, err) < 0 ||
            json_get_bool(record, "seccomp_notifies", place, &container->seccomp_notifies, err) <
                    0 ||
            json_get_string(record, "forbidden_calls", place, &forbidden_calls, err) < 0 ||
            json_get_int(record, "pid", place, &pid, err) < 0 ||
            json_get_int(record, "start_time", place, &start_time, err) < 0 ||
            json_get_strings(record, "volume_ids", place, &container->volume_ids, err) < 0 ||
            json_get_bool(record, "bundle_outdated", place, &container->bundle_outdated, err) < 0 ||
            restore_resources(container, record, err) < 0 ||
            restore_gids(container, record, err) < 0)
                return err->number;
        if (!image_id || !image_name || !cgroup_path)
                return error_set(err, ERROR_DATA_LOSS, "record.json: image or cgroup is missing");
        for (size_t i = 0; i < sizeof phase_names / sizeof *phase_names; i++)
                if (strcmp(phase, phase_names[i]) == 0)
                        container->phase = (enum container_phase)i;
        for (size_t i = 0; reason && i < sizeof reasons / sizeof *reasons; i++)
                if (strcmp(reason, reasons[i]) == 0)
                        container->reason = reasons[i];
        container->in_runtime = container->phase >= CONTAINER_STARTING;
        container->told = container->phase == CONTAINER_RUNNING  ? EVENT_STARTED
                          : container->phase == CONTAINER_EXITED ? EVENT_STOPPED
                                                                 : EVENT_CREATED;
        bool same_boot = strcmp(boot_id, node.boot_id) == 0;
        container->exit_code = (int)exit_code;
        container->message = xstrdup(message);
        container->forbidden_calls = xstrdup(forbidden_calls);
        container->image_id = xstrdup(image_id);
        container->image_name = xstrdup(image_name);
        container->cgroup_path = xstrdup(cgroup_path);
        container->log_path = xstrdup(log_path);
        container->uid = (uint32_t)uid;
        container->gid = (uint32_t)gid;
        container->stop_signal = (int)stop_signal;
        container->pid = same_boot ? (pid_t)pid : 0;
        container->start_time = same_boot ? (uint64_t)start_time : 0;
        container->of_earlier_boot = !same_boot;
        container->claimed = true;
        return 0;
}
