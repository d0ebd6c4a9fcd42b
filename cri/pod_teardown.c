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
#include "cri/pod_network.h"
#include "cri/record.h"
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
        AUTO_FREE char *namespaces = pod_path(pod, "ns");
        AUTO_FREE char *directory = pod_path(pod, "");
        int result = remove_holder_cgroup(pod, teardown->err);
        if (result == 0)
                result = namespace_unpin(namespaces, teardown->err);
        if (result == 0)
                result = unmount_shm(pod, teardown->err);
        return result == 0 ? file_remove_tree(directory, teardown->err) : result;
}

int pod_tear_down(struct pod *pod, struct error *err)
{
        if (pod->torn_down)
                return 0;
        int result;
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
        struct teardown teardown = {.pod = pod, .err = err};
        result = task_offload(tear_down_on_worker, &teardown);
        pod->torn_down = result == 0;
        return result;
}

/* ---- stopping and removing ---- */

static int stop_containers(struct pod *pod, struct error *err)
{
        pod_step(pod, "ending containers");
        /* All are told first, so that they end side by side. */
        for (struct container *each = pod->containers; each; each = each->next)
                container_signal(each, SIGKILL);
        /* Those that are there now, held: anybody may remove one meanwhile. */
        size_t count = 0;
        for (struct container *each = pod->containers; each; each = each->next)
                count++;
        struct container **held = xcalloc(count, sizeof(struct container *));
        count = 0;
        for (struct container *each = pod->containers; each; each = each->next)
                held[count++] = container_ref(each);
        int result = 0;
        for (size_t i = 0; i < count; i++) {
                if (result == 0 && (result = container_end(held[i], err)) < 0)
                        error_context(err, "container %s", held[i]->id);
                container_unref(held[i]);
        }
        free(held);
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
