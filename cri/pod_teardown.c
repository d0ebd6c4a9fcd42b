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
        if (syscall(SYS_pidfd_send_signal, pod->holder_fd, SIGKILL, NULL, 0) < 0 &&
            errno != ESRCH)
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
        bool remove_parent;
        struct error *err;
};

static int unmount_shm(const struct pod *pod, struct error *err)
{
        AUTO_FREE char *path = pod_path(pod, "shm");
        if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
                return error_errno(err, errno, "unmount %s", path);
        return 0;
}

static int remove_cgroups(const struct teardown *teardown)
{
        const struct pod *pod = teardown->pod;
        AUTO_FREE char *name = xprintf("%s-pause", pod->id);
        AUTO_CGROUP_PLACE struct cgroup_place holder = {0};
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = cgroup_place(CGROUP_DRIVER_CGROUPFS, node.config->runtime.monitor_cgroup,
                                  name, &holder, teardown->err);
        if (result == 0 && pod_shares_pids(pod))
                result = cgroup_remove(&node.cgroups, holder.path, clock_after(CGROUP_DEADLINE),
                                       teardown->err);
        if (result < 0 || !teardown->remove_parent)
                return result;
        result = cgroup_place(node.cgroup_driver, pod_cgroup_parent(pod), pod->id, &place,
                              teardown->err);
        if (result == 0)
                cgroup_parent_remove(&node.cgroups, place.parent, pod->parent_made);
        return result;
}

static int tear_down_on_worker(void *argument)
{
        const struct teardown *teardown = argument;
        const struct pod *pod = teardown->pod;
        AUTO_FREE char *namespaces = pod_path(pod, "ns");
        AUTO_FREE char *directory = pod_path(pod, "");
        int result = namespace_unpin(namespaces, teardown->err);
        if (result == 0)
                result = unmount_shm(pod, teardown->err);
        if (result == 0)
                result = file_remove_tree(directory, teardown->err);
        return result == 0 ? remove_cgroups(teardown) : result;
}

/* A cgroup parent that we made goes with the last pod in it. */
static bool is_last_in_parent(const struct pod *pod)
{
        size_t cursor = 0;
        for (struct pod *other; (other = table_next(node.pods, &cursor, NULL));)
                if (other != pod && !other->torn_down &&
                    strcmp(pod_cgroup_parent(other), pod_cgroup_parent(pod)) == 0)
                        return false;
        return true;
}

/* Whoever of the pods in this parent came first made it; all who are in it share that. */
static void pass_on_parent(const struct pod *pod)
{
        size_t cursor = 0;
        for (struct pod *other; (other = table_next(node.pods, &cursor, NULL));)
                if (other != pod && !other->torn_down &&
                    strcmp(pod_cgroup_parent(other), pod_cgroup_parent(pod)) == 0 &&
                    !other->parent_made)
                        other->parent_made = xstrdup(pod->parent_made);
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
        bool last = is_last_in_parent(pod);
        struct teardown teardown = {
                .pod = pod, .remove_parent = pod->parent_made && last, .err = err};
        result = task_offload(tear_down_on_worker, &teardown);
        if (result < 0)
                return result;
        if (pod->parent_made && !last)
                pass_on_parent(pod);
        pod->torn_down = true;
        return 0;
}

static int stop_containers(struct pod *pod, struct error *err)
{
        pod_step(pod, "ending containers");
        /* All are told first, so that they end side by side. */
        for (struct container *each = pod->containers; each; each = each->next)
                container_signal(each, SIGKILL);
        for (;;) {
                struct container *running = pod->containers;
                while (running && !container_may_run(running))
                        running = running->next;
                if (!running)
                        return 0;
                AUTO_CONTAINER struct container *container = container_ref(running);
                int result = container_end(container, err);
                if (result < 0)
                        return error_context(err, "container %s", container->id);
        }
}

static int stop_locked(struct pod *pod, struct error *err)
{
        pod->stopping = true;
        int result = stop_containers(pod, err);
        if (result < 0)
                return result;
        bool was_torn_down = pod->torn_down;
        pod->phase = POD_NOTREADY;
        result = pod_tear_down(pod, err);
        if (result < 0 || was_torn_down)
                return result;
        /* The kernel is the truth: a full disk keeps nobody from stopping a pod. */
        struct error unsaved;
        if (pod_save(pod, false, &unsaved) < 0)
                log_failure(&unsaved, "the pod's record is not up to date", "pod", pod->id, NULL);
        return 0;
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
