/* Finding pods and containers again: records tell what was meant, the kernel tells what is. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "cri/container.h"
#include "cri/image_volume.h"
#include "cri/orphan.h"
#include "cri/pod_shim.h"
#include "cri/pull_cgroup.h"
#include "cri/record.h"
#include "cri/tuning.h"
#include "image/adopt.h"

#define ADOPT_DEADLINE (30 * NSEC_PER_SEC)
#define CREATE_POLL    (50 * NSEC_PER_MSEC)

/* ---- what a crash left half made: removed while the daemon answers already ---- */

struct leftover {
        char *path;
        struct error err;
};

static int remove_on_worker(void *argument)
{
        struct leftover *leftover = argument;
        return file_remove_tree(leftover->path, &leftover->err);
}

static void remove_leftover(void *argument)
{
        struct leftover *leftover = argument;
        if (task_offload(remove_on_worker, leftover) < 0)
                log_failure(&leftover->err, "removing what a crash left failed", "path",
                            leftover->path, NULL);
        free(leftover->path);
        free(leftover);
}

static void remove_leftovers(const char *folder, char **names)
{
        for (size_t i = 0; names && names[i]; i++) {
                struct leftover *leftover = xcalloc(1, sizeof *leftover);
                leftover->path = xprintf("%s/%s", folder, names[i]);
                task_start("remove leftover", remove_leftover, leftover);
        }
}

/* ---- pods ---- */

static void drop_pod(void *argument)
{
        AUTO_POD struct pod *pod = argument;
        struct error err;
        if (pod_remove(pod, &err) < 0)
                log_failure(&err, "removing a pod that a crash left half made failed", "pod",
                            pod->id, NULL);
}

static void recover_pod(struct pod *pod)
{
        pod_publish(pod);
        pod_shim_recover(pod);
        if (pod->holder_pid) {
                struct error err;
                if (pod_watch_holder(pod, &err) < 0 && pod->phase == POD_READY) {
                        log_failure(&err, "pod is not ready any more", "pod", pod->id, NULL);
                        pod->phase = POD_NOTREADY;
                }
        }
        /* Its holder is gone, or it is of an earlier boot. */
        if (pod->phase == POD_NOTREADY && pod->told < EVENT_STOPPED)
                pod_save_later(pod);
        pod_check(pod);
        /* Nobody was ever told of it: who asked will ask again. */
        if (pod->phase == POD_CREATING) {
                pod->claimed = false;
                task_start("drop pod", drop_pod, pod_ref(pod));
        }
}

static int load_pod(const char *id, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_JSON json_t *record = NULL;
        ProtobufCMessage *message;
        int result =
                record_load(node.pods_dir, id, &runtime__v1__run_pod_sandbox_request__descriptor,
                            arena, &message, &record, err);
        if (result < 0)
                return result;
        const Runtime__V1__RunPodSandboxRequest *request =
                (const Runtime__V1__RunPodSandboxRequest *)message;
        if (!request->config || !request->config->metadata)
                return error_set(err, ERROR_DATA_LOSS, "config.pb has no configuration");
        AUTO_POD struct pod *pod = pod_new(id, request);
        result = pod_restore(pod, record, err);
        if (result == 0)
                recover_pod(pod);
        return result;
}

/* ---- containers ---- */

/* Its pidfd, or -1 when it has ended: then its monitor is about to say so. */
static int open_first_process(const struct container *container)
{
        int fd = container->pid ? process_open(container->pid, container->start_time) : -1;
        return fd < 0 ? -1 : fd;
}

/* Waits while the monitor still runs the runtime's create: before its end nobody can say what there
 * is. */
static void wait_for_create(struct container *container, int64_t deadline)
{
        struct monitor_status status = {0};
        while (container->monitor &&
               monitor_get_status(container->monitor, deadline, &status, NULL) == 0 &&
               status.state == MONITOR_CREATING && clock_monotonic() < deadline)
                task_sleep_until(clock_after(CREATE_POLL));
}

static void start_was_cut_off(struct container *container)
{
        struct error reason;
        error_set(&reason, ERROR_ABORTED, "the daemon ended while the container was being started");
        container->started_at = 0;
        container_start_failed(container, &reason);
        container_save_later(container);
}

/* StartContainer was under way. Its runtime knows whether the container runs. */
static void adopt_started(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        struct runtime_state state = {0};
        task_lock(&container->lock, CLOCK_NEVER);
        wait_for_create(container, clock_after(container_runtime_patience(container)));
        int result = container->pod->handler
                             ? runtime_state(container->pod->handler, container->id,
                                             clock_after(ADOPT_DEADLINE), &state, &err)
                             : error_set(&err, ERROR_FAILED_PRECONDITION,
                                         "its runtime handler is not configured any more");
        if (container->phase != CONTAINER_STARTING) {
                /* It ended meanwhile. */
        } else if (result == 0 && state.status == RUNTIME_STATUS_RUNNING) {
                container->phase = CONTAINER_RUNNING;
                container->pid = state.pid;
                container->start_time = process_start_time(state.pid);
                if (container->pidfd < 0)
                        container->pidfd = open_first_process(container);
                events_tell_container(container, EVENT_STARTED);
                /* The run folder's comes first at the next start, which must not ask again: a
                 * runtime that does not answer then would be the end of a container that runs. */
                if (container_save_run(container, &err) < 0)
                        log_failure(&err, "the container's record is not up to date", "container",
                                    container->id, NULL);
                container_save_later(container);
        } else {
                container_signal(container, SIGKILL);
                start_was_cut_off(container);
        }
        task_unlock(&container->lock);
}

static void drop_container(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        if (container_remove(container, &err) < 0)
                log_failure(&err, "removing a container that a crash left half made failed",
                            "container", container->id, NULL);
}

static bool adopt_monitor(struct container *container)
{
        struct error err;
        container->pidfd = open_first_process(container);
        return container_connect(container, &err) == 0;
}

/* One that was started: its monitor, else the monitor's record, else nobody knows how it ended. */
static void recover_started(struct container *container)
{
        AUTO_FREE char *directory = container_state_path(container, "");
        struct monitor_exit exit;
        struct error err;
        bool was_starting = container->phase == CONTAINER_STARTING;
        if (exit_record_read(directory, &exit, &err) == 0) {
                container_exited(container, &exit);
        } else if (adopt_monitor(container)) {
                if (was_starting)
                        task_start("adopt started container", adopt_started,
                                   container_ref(container));
        } else if (was_starting) {
                start_was_cut_off(container);
        } else if (container_read_exit(container, &exit, &err) == 0) {
                container_exited(container, &exit);
        } else {
                container_exited_unseen(container,
                                        container->of_earlier_boot
                                                ? "the machine went down, and nobody saw how it "
                                                  "ended"
                                                : "its monitor had ended before it while no daemon "
                                                  "ran, and nobody else saw how it ended");
        }
}

static void recover_container(struct container *container)
{
        struct error err;
        if (store_use(node.images, container->image_id, container->id, &err) < 0)
                log_failure(&err, "a container's image is not here any more", "container",
                            container->id, NULL);
        image_volumes_keep(container);
        container_publish(container);
        switch (container->phase) {
        case CONTAINER_STARTING:
        case CONTAINER_RUNNING:
                recover_started(container);
                container_update_resume(container);
                break;
        case CONTAINER_CREATING:
                container->claimed = false;
                task_start("drop container", drop_container, container_ref(container));
                break;
        case CONTAINER_EXITED:
                if (!container->clean)
                        container_clean_up_later(container);
                break;
        case CONTAINER_CREATED:
                /* It may have run: what it was then went with the run folder. */
                if (container->of_earlier_boot)
                        recover_started(container);
                break;
        case CONTAINER_REMOVED:
                break;
        }
}

static int load_container(const char *id, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_JSON json_t *record = NULL;
        ProtobufCMessage *message;
        const char *pod_id = NULL;
        int result = record_load(node.containers_dir, id,
                                 &runtime__v1__create_container_request__descriptor, arena,
                                 &message, &record, err);
        if (result == 0)
                result = json_get_string(record, "pod", "record.json", &pod_id, err);
        if (result < 0)
                return result;
        const Runtime__V1__CreateContainerRequest *request =
                (const Runtime__V1__CreateContainerRequest *)message;
        struct pod *pod = pod_id ? table_get(node.pods, pod_id) : NULL;
        if (!pod || !request->config || !request->config->metadata || !request->config->image)
                return error_set(err, ERROR_DATA_LOSS, "its pod or its configuration is missing");
        AUTO_CONTAINER struct container *container = container_new(id, pod, request);
        AUTO_JSON json_t *newer = NULL;
        if (record_load_state(node.run_containers_dir, id, &newer, NULL) < 0)
                newer = NULL;
        result = container_restore(container, newer ? newer : record, err);
        if (result < 0)
                return result;
        /* The newer record goes with the run folder, at a reboot or when the container is cleaned
         * up. */
        if (newer && !json_equal(record, newer))
                container_save_later(container);
        recover_container(container);
        return 0;
}

/* ---- all of them ---- */

static int load_all(const char *folder, int (*load)(const char *id, struct error *err),
                    void (*end)(const char *id), struct error *err)
{
        char **ids;
        char **leftovers;
        int result = record_list(folder, &ids, &leftovers, err);
        if (result < 0)
                return result;
        for (size_t i = 0; ids && ids[i]; i++) {
                struct error reason;
                int loaded = load(ids[i], &reason);
                if (loaded == -ENOENT)
                        strv_push(&leftovers, ids[i]);
                if (loaded < 0 && loaded != -ENOENT) {
                        record_set_aside(folder, ids[i], &reason);
                        end(ids[i]);
                }
        }
        remove_leftovers(folder, leftovers);
        strv_free(ids);
        strv_free(leftovers);
        return 0;
}

/* Those that are there now: a pod that came since must not be missing. */
static void collect(struct network *network)
{
        static char *const none[] = {NULL};
        char **valid = NULL;
        struct error err;
        size_t cursor = 0;
        for (struct pod *pod; (pod = table_next(node.pods, &cursor, NULL));)
                strv_push(&valid, pod->id);
        if (network_gc(network, valid ? valid : none, &err) < 0)
                log_failure(&err, "freeing the addresses of pods that are gone", NULL);
        strv_free(valid);
}

/* Addresses of pods that went while nobody was there to free them. */
static void free_lost_addresses(void *argument)
{
        size_t cursor = 0;
        (void)argument;
        collect(node.network);
        for (struct network *each; (each = table_next(node.handler_networks, &cursor, NULL));)
                collect(each);
}

int node_recover(struct error *err)
{
        int result = load_all(node.pods_dir, load_pod, orphan_end_pod, err);
        if (result == 0)
                result = load_all(node.containers_dir, load_container, orphan_end_container, err);
        if (result < 0)
                return result;
        tuning_recover();
        events_recovered();
        puller_adopt(node.puller);
        pull_cgroup_recover();
        store_keep_clean(node.images, STORE_CLEAN_PERIOD, STORE_CLEAN_RETRY);
        suspects_check(node.suspects);
        task_start("free lost addresses", free_lost_addresses, NULL);
        return 0;
}
