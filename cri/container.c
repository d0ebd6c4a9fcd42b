#include "cri/container.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "cri/lookup.h"
#include "cri/record.h"
#include "image/rootfs.h"
#include "oci/cgroup.h"

#define GIDS_MAX           65536 /* what the kernel takes */
#define CLEAN_UPS_AT_ONCE  8
#define CGROUP_REMOVE_TIME (2 * NSEC_PER_SEC)

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
        if (container->pidfd >= 0)
                close(container->pidfd);
        pod_unref(container->pod);
        free(container->failure);
        free(container->gids);
        free(container->log_path);
        free(container->cgroup_path);
        free(container->image_name);
        free(container->image_id);
        free(container->message);
        free(container->name);
        arena_free(container->arena);
        free(container);
}

void container_publish(struct container *container)
{
        table_put(node.containers, container->id, container_ref(container));
        table_put(node.container_names, container->name, container);
        container->next = container->pod->containers;
        container->pod->containers = container;
}

void container_withdraw(struct container *container)
{
        container->phase = CONTAINER_REMOVED;
        /* What a crash left half made is dropped without having settled otherwise. */
        event_signal(&container->settled);
        timer_free(take_ptr(container->unclaimed_timer));
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

static const char *const reasons[] = {"Completed", "Error", "OOMKilled", "StartError", "Unknown"};

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
        json_object_set_new(record, "cgroup_path", json_string(container->cgroup_path));
        if (container->log_path)
                json_object_set_new(record, "log_path", json_string(container->log_path));
        json_object_set_new(record, "uid", json_integer(container->uid));
        json_object_set_new(record, "gid", json_integer(container->gid));
        json_object_set_new(record, "gids", gids);
        json_object_set_new(record, "stop_signal", json_integer(container->stop_signal));
        json_object_set_new(record, "clean", json_boolean(container->clean));
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

int container_restore(struct container *container, const json_t *record, struct error *err)
{
        static const char place[] = "record.json";
        const char *phase = "", *boot_id = "", *reason = NULL, *message = NULL, *image_id = NULL;
        const char *image_name = NULL, *cgroup_path = NULL, *log_path = NULL;
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
            json_get_int(record, "pid", place, &pid, err) < 0 ||
            json_get_int(record, "start_time", place, &start_time, err) < 0 ||
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
        bool same_boot = strcmp(boot_id, node.boot_id) == 0;
        container->exit_code = (int)exit_code;
        container->message = xstrdup(message);
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

/* ---- signals ---- */

static bool has_own_pids(const struct container *container)
{
        const Runtime__V1__NamespaceOption *options =
                container_security(container)->namespace_options;
        if (!options)
                options = pod_namespaces(container->pod);
        return options->pid == RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
}

struct cgroup_job {
        struct container *container;
        int64_t deadline;
        struct error *err;
};

static int kill_cgroup_on_worker(void *argument)
{
        struct cgroup_job *job = argument;
        return cgroup_kill(&node.cgroups, job->container->cgroup_path, job->deadline, job->err);
}

static int kill_cgroup(struct container *container, struct error *err)
{
        struct cgroup_job job = {
                .container = container, .deadline = clock_after(CONTAINER_KILL_TIME), .err = err};
        return task_offload(kill_cgroup_on_worker, &job);
}

static void kill_cgroup_task(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        if (kill_cgroup(container, &err) < 0)
                log_failure(&err, "killing a container's processes", "container", container->id,
                            NULL);
}

void container_signal(struct container *container, int signal)
{
        if (!container_may_run(container) || container->pidfd < 0)
                return;
        /* ESRCH: it has just ended, and its monitor is about to say so. */
        if (syscall(SYS_pidfd_send_signal, container->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
                log_error("a signal could not be sent", "container", container->id, "error",
                          strerrordesc_np(errno), NULL);
        if (signal == SIGKILL && !has_own_pids(container))
                task_start("kill container's cgroup", kill_cgroup_task, container_ref(container));
}

/* ---- exits ---- */

/*
 * Cleaning up that nobody waits for: after a reboot every container has ended at once, and as many
 * runtimes started together would leave the daemon no time to answer. A request for one that waits
 * here cleans it up itself.
 */
struct clean_up {
        struct container *container; /* a reference */
        struct clean_up *next;
};

static struct {
        struct clean_up *first, **last;
        unsigned tasks;
} clean_ups = {.last = &clean_ups.first};

static void clean_up(struct container *container)
{
        struct error err;
        task_lock(&container->lock, CLOCK_NEVER);
        if (container->phase == CONTAINER_EXITED && container_clean_up(container, false, &err) < 0)
                log_failure(&err, "cleaning up after a container", "container", container->id,
                            NULL);
        container_step(container, NULL);
        task_unlock(&container->lock);
}

static void clean_up_task(void *argument)
{
        (void)argument;
        for (struct clean_up *next; (next = clean_ups.first);) {
                AUTO_CONTAINER struct container *container = next->container;
                clean_ups.first = next->next;
                if (!clean_ups.first)
                        clean_ups.last = &clean_ups.first;
                free(next);
                clean_up(container);
        }
        clean_ups.tasks--;
}

void container_clean_up_later(struct container *container)
{
        struct clean_up *last = xcalloc(1, sizeof *last);
        last->container = container_ref(container);
        *clean_ups.last = last;
        clean_ups.last = &last->next;
        if (clean_ups.tasks < CLEAN_UPS_AT_ONCE) {
                clean_ups.tasks++;
                task_start("clean up containers", clean_up_task, NULL);
        }
}

static void finish(struct container *container, int exit_code, const char *reason,
                   int64_t finished_at)
{
        container->phase = CONTAINER_EXITED;
        container->exit_code = exit_code;
        container->reason = reason;
        container->finished_at = finished_at;
        container->pid = 0;
        if (container->pidfd >= 0)
                close(take_fd(&container->pidfd));
        monitor_free(take_ptr(container->monitor));
        event_signal(&container->ended);
        container_clean_up_later(container);
}

void container_exited(struct container *container, const struct monitor_exit *exit)
{
        if (container->phase == CONTAINER_EXITED)
                return;
        const char *reason = exit->oom_killed       ? "OOMKilled"
                             : exit->exit_code == 0 ? "Completed"
                                                    : "Error";
        container->oom_killed = exit->oom_killed;
        container->exit_told = true;
        finish(container, exit->exit_code, reason, exit->finished_at);
        char code[16];
        snprintf(code, sizeof code, "%d", exit->exit_code);
        log_info("container has exited", "container", container->id, "code", code, "reason", reason,
                 NULL);
}

void container_exited_unseen(struct container *container)
{
        if (container->phase == CONTAINER_EXITED || container->phase == CONTAINER_REMOVED)
                return;
        finish(container, 255, "Unknown", clock_real());
        container_save_later(container);
        log_warning("nobody saw how the container ended", "container", container->id, NULL);
}

void container_start_failed(struct container *container, const struct error *reason)
{
        free(container->message);
        container->message = xstrdup(reason->message);
        finish(container, 128, "StartError", clock_real());
}

struct exit_job {
        const struct container *container;
        struct monitor_exit exit;
        struct error *err;
};

static int read_exit_on_worker(void *argument)
{
        struct exit_job *job = argument;
        AUTO_FREE char *directory = container_state_path(job->container, "");
        return exit_record_read(directory, &job->exit, job->err);
}

/* The monitor went without a word: perhaps it wrote the record and could not say so, perhaps it was
 * killed. */
static void monitor_gone_task(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        struct exit_job job = {.container = container, .err = &err};
        int result = task_offload(read_exit_on_worker, &job);
        if (container->phase == CONTAINER_EXITED || container->phase == CONTAINER_REMOVED)
                return;
        if (result == 0) {
                container_exited(container, &job.exit);
                return;
        }
        log_failure(&err, "the container's monitor has gone: ending the container", "container",
                    container->id, NULL);
        /* Without its monitor its output goes nowhere and its exit code would never be known. */
        if (kill_cgroup(container, &err) < 0)
                log_failure(&err, "killing a container's processes", "container", container->id,
                            NULL);
        container_exited_unseen(container);
}

static void on_exit_told(void *argument, const struct monitor_exit *exit)
{
        struct container *container = argument;
        if (exit)
                container_exited(container, exit);
        else
                task_start("monitor is gone", monitor_gone_task, container_ref(container));
}

int container_connect(struct container *container, struct error *err)
{
        AUTO_FREE char *socket = container_run_path(container, "monitor.sock");
        return monitor_connect(socket, on_exit_told, container, &container->monitor, err);
}

/* ---- cleaning up ---- */

struct unmount_job {
        const struct container *container;
        bool keep_monitor; /* unless its record is there */
        bool kept;
        struct error *err;
};

static int unmount_on_worker(void *argument)
{
        struct unmount_job *job = argument;
        AUTO_FREE char *rootfs = container_run_path(job->container, "rootfs");
        AUTO_FREE char *directory = container_run_path(job->container, "");
        AUTO_FREE char *exit_record = container_state_path(job->container, MONITOR_EXIT_RECORD);
        int result = rootfs_unmount(rootfs, job->err);
        if (result < 0)
                return result;
        job->kept = job->keep_monitor && access(exit_record, F_OK) < 0;
        return job->kept ? 0 : file_remove_tree(directory, job->err);
}

struct remove_cgroup_job {
        const struct container *container;
        struct error *err;
};

static int remove_cgroup_on_worker(void *argument)
{
        struct remove_cgroup_job *job = argument;
        return cgroup_remove(&node.cgroups, job->container->cgroup_path,
                             clock_after(CGROUP_REMOVE_TIME), job->err);
}

/*
 * A runtime that cannot delete, or has gone, does not keep its containers here for ever: the kernel
 * says whether anything of one is left.
 */
static int delete_without_runtime(struct container *container, const struct error *why,
                                  struct error *err)
{
        struct remove_cgroup_job job = {.container = container, .err = err};
        int result = kill_cgroup(container, err);
        if (result == 0)
                result = task_offload(remove_cgroup_on_worker, &job);
        if (result == 0)
                log_failure(why, "the runtime did not delete a container of which nothing is left",
                            "container", container->id, NULL);
        return result;
}

static int delete_from_runtime(struct container *container, struct error *err)
{
        const struct runtime_handler *handler = container->pod->handler;
        struct error why;
        int64_t deadline = clock_after(node.config->runtime.create_timeout * NSEC_PER_SEC);
        int result = handler ? runtime_delete(handler, container->id, true, deadline, &why)
                             : error_set(&why, ERROR_FAILED_PRECONDITION,
                                         "its runtime handler is not configured any more");
        if (result < 0)
                result = delete_without_runtime(container, &why, err);
        container->in_runtime = result < 0;
        return result;
}

int container_clean_up(struct container *container, bool removing, struct error *err)
{
        if (container->clean)
                return 0;
        int result = 0;
        if (!has_own_pids(container)) {
                container_step(container, "ending its processes");
                result = kill_cgroup(container, err);
        }
        if (result == 0 && container->in_runtime) {
                container_step(container, "deleting it from the runtime");
                result = delete_from_runtime(container, err);
        }
        struct unmount_job job = {.container = container,
                                  .keep_monitor = container->exit_told && !removing,
                                  .err = err};
        if (result == 0) {
                container_step(container, "unmounting its root");
                result = task_offload(unmount_on_worker, &job);
        }
        if (result < 0)
                return error_context(err, "clean up container %s", container->id);
        container->clean = !job.kept;
        return 0;
}
