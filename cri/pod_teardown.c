/* StopPodSandbox and RemovePodSandbox: each goes on where an earlier try, or a crash, stopped. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/pod.h"
#include "cri/pod_logs.h"
#include "cri/pod_network.h"
#include "cri/pod_shim.h"
#include "cri/record.h"
#include "cri/stats_source.h"
#include "network/namespace.h"

#define HOLDER_KILL_DEADLINE (10 * NSEC_PER_SEC)
#define CGROUP_DEADLINE      (2 * NSEC_PER_SEC)

static int kill_holder(struct pod *pod, struct error *err)
{
        if (pod->holder_fd < 0)
                return 0;
        watch_free(take_ptr(pod->holder_watch));
        if (syscall(SYS_pidfd_send_signal, pod->holder_fd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
                return error_errno(err, errno, "kill crisp-pause, process %d",
                                   (int)pod->holder_pid);
        int result = task_wait_fd(pod->holder_fd, EPOLLIN, clock_after(HOLDER_KILL_DEADLINE), NULL);
        if (result < 0)
                return error_errno(err, result, "crisp-pause, process %d, does not end",
                                   (int)pod->holder_pid);
        close(take_fd(&pod->holder_fd));
        pod->holder_pid = 0;
        return 0;
}

struct teardown {
        const struct pod *pod;
        struct error *err;
};

static int unmount_shm(const struct pod *pod, struct error *err)
{
        AUTO_FREE char *path = pod_path(pod, "shm");
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
                return error_errno(err, errno, "unmount %s", path);
        return 0;
}

/* Also ends a holder that a crashed daemon started and did not come to write down. */
static int remove_holder_cgroup(const struct pod *pod, struct error *err)
{
        AUTO_FREE char *name = xprintf("%s-pause", pod->id);
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        if (!pod_shares_pids(pod))
                return 0;
        int result = cgroup_place(CGROUP_DRIVER_CGROUPFS, node.config->runtime.monitor_cgroup, name,
                                  &place, err);
        if (result == 0)
                result = cgroup_kill(&node.cgroups, place.path, clock_after(CGROUP_DEADLINE), err);
        if (result == 0)
                result =
                        cgroup_remove(&node.cgroups, place.path, clock_after(CGROUP_DEADLINE), err);
        return result;
}

static int tear_down_on_worker(void *argument)
{
        const struct teardown *teardown = argument;
        const struct pod *pod = teardown->pod;
        AUTO_FREE char *directory = pod_path(pod, "");
        int result = remove_holder_cgroup(pod, teardown->err);
        if (result == 0)
                result = pod_logs_unmount(pod, teardown->err);
        if (result == 0)
                result = namespace_unpin(pod->namespaces, teardown->err);
        if (result == 0)
                result = unmount_shm(pod, teardown->err);
        return result == 0 ? file_remove_tree(directory, teardown->err) : result;
}

int pod_tear_down(struct pod *pod, struct error *err)
{
        if (pod->torn_down)
                return 0;
        int result = pod_shim_stop(pod, err);
        if (result < 0)
                return result;
        if (pod->attached) {
                pod_step(pod, "calling CNI plugins to free the network");
                result = pod_network_detach(pod, err);
                if (result < 0)
                        return error_context(err, "free the network");
                pod->attached = false;
        }
        pod_step(pod, "ending crisp-pause");
        result = kill_holder(pod, err);
        if (result < 0)
                return result;
        pod_step(pod, "removing namespaces");
        stats_source_close(pod->stats);
        struct teardown teardown = {.pod = pod, .err = err};
        result = task_offload(tear_down_on_worker, &teardown);
        pod->torn_down = result == 0;
        return result;
}

/* ---- stopping and removing ---- */

/* One of a pod's containers, while all of them are ended side by side. */
struct ending {
        struct container *container; /* a reference */
        struct event *changed;
        size_t *left;
        int result;
        struct error err;
};

static void end_task(void *argument)
{
        struct ending *ending = argument;
        ending->result = container_end(ending->container, &ending->err);
        --*ending->left;
        event_signal(ending->changed);
}

/* All are told first; one that does not end keeps none of the others from it. */
static int stop_containers(struct pod *pod, struct error *err)
{
        struct event changed = {0};
        size_t count = 0, left = 0;
        int result = 0;
        pod_step(pod, "ending containers");
        for (struct container *each = pod->containers; each; each = each->next)
                count++;
        struct ending *endings = xcalloc(count, sizeof *endings);
        for (struct container *each = pod->containers; each; each = each->next)
                endings[left++] = (struct ending){
                        .container = container_ref(each), .changed = &changed, .left = &left};
        for (size_t i = 0; i < count; i++) {
                container_signal(endings[i].container, SIGKILL);
                task_start("end container", end_task, &endings[i]);
        }
        while (left)
                task_wait(&changed, CLOCK_NEVER);
        for (size_t i = 0; i < count; i++) {
                if (endings[i].result < 0 && result == 0) {
                        result = endings[i].result;
                        if (err)
                                *err = endings[i].err;
                        error_context(err, "container %s", endings[i].container->id);
                }
                container_unref(endings[i].container);
        }
        free(endings);
        return result;
}

/* The kernel is the truth: a full disk keeps nobody from stopping a pod. */
static void save(struct pod *pod)
{
        struct error unsaved;
        if (pod_save(pod, false, &unsaved) < 0)
                log_failure(&unsaved, "the pod's record is not up to date", "pod", pod->id, NULL);
}

static int stop_locked(struct pod *pod, struct error *err)
{
        pod->stopping = true;
        int result = stop_containers(pod, err);
        if (result < 0)
                return result;
        bool was_torn_down = pod->torn_down;
        bool was_ready = pod->phase == POD_READY;
        pod->phase = POD_NOTREADY;
        /* The intent: a pod whose network was freed must not come back as one that is ready because
         * its namespace was still there when the daemon was killed. */
        if (was_ready) {
                events_tell_pod(pod, EVENT_STOPPED);
                save(pod);
        }
        result = pod_tear_down(pod, err);
        if (result == 0 && !was_torn_down)
                save(pod);
        return result;
}

int pod_stop(struct pod *pod, struct error *err)
{
        task_lock(&pod->lock, CLOCK_NEVER);
        int result = pod->phase == POD_REMOVED ? 0 : stop_locked(pod, err);
        pod_step(pod, NULL);
        task_unlock(&pod->lock);
        return result < 0 ? error_context(err, "stop pod %s", pod->id) : 0;
}

static int remove_locked(struct pod *pod, struct error *err)
{
        int result = stop_locked(pod, err);
        if (result < 0)
                return result;
        pod_step(pod, "removing containers");
        while (pod->containers) {
                AUTO_CONTAINER struct container *container = container_ref(pod->containers);
                result = container_remove(container, err);
                if (result < 0)
                        return result;
        }
        pod_step(pod, "removing the record");
        result = pod_leave_cgroup(pod, err);
        if (result == 0)
                result = record_remove(node.pods_dir, pod->id, err);
        if (result == 0)
                pod_withdraw(pod);
        return result;
}

int pod_remove(struct pod *pod, struct error *err)
{
        task_lock(&pod->lock, CLOCK_NEVER);
        int result = pod->phase == POD_REMOVED ? 0 : remove_locked(pod, err);
        pod_step(pod, NULL);
        task_unlock(&pod->lock);
        return result < 0 ? error_context(err, "remove pod %s", pod->id) : 0;
}

int pod_stop_handler(struct rpc *rpc, const void *request_, void *response, struct error *err)
{
        const Runtime__V1__StopPodSandboxRequest *request = request_;
        AUTO_POD struct pod *pod = NULL;
        (void)rpc;
        (void)response;
        int result = pod_find(request->pod_sandbox_id, &pod, err);
        if (result == -ENOENT)
                return 0;
        return result < 0 ? result : pod_stop(pod, err);
}

int pod_remove_handler(struct rpc *rpc, const void *request_, void *response, struct error *err)
{
        const Runtime__V1__RemovePodSandboxRequest *request = request_;
        AUTO_POD struct pod *pod = NULL;
        (void)rpc;
        (void)response;
        int result = pod_find(request->pod_sandbox_id, &pod, err);
        if (result == -ENOENT)
                return 0;
        return result < 0 ? result : pod_remove(pod, err);
}
