/*
 * A pod's cgroup parent. A kubelet makes it and takes it away; where nobody did (crictl, the
 * default parent) crisp makes it, and takes it away with the last pod in it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cri/pod.h"
#include "oci/cgroup.h"

/* One at a time: a pod must not find its parent there while it is being taken away from under it.
 */
static struct task_lock parents;

struct job {
        const struct pod *pod;
        char *made;
        struct error *err;
};

static int make_on_worker(void *argument)
{
        struct job *job = argument;
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = cgroup_place(node.cgroup_driver, pod_cgroup_parent(job->pod), job->pod->id,
                                  &place, job->err);
        return result < 0 ? result
                          : cgroup_parent_ensure(&node.cgroups, place.parent, &job->made, job->err);
}

int pod_join_cgroup(struct pod *pod, struct error *err)
{
        /* With systemd the slice is systemd's to make and to take away. */
        if (node.cgroup_driver != CGROUP_DRIVER_CGROUPFS)
                return 0;
        struct job job = {.pod = pod, .err = err};
        task_lock(&parents, CLOCK_NEVER);
        int result = task_offload(make_on_worker, &job);
        if (job.made) {
                free(pod->parent_made);
                pod->parent_made = job.made;
        }
        task_unlock(&parents);
        return result;
}

static int remove_on_worker(void *argument)
{
        struct job *job = argument;
        const struct pod *pod = job->pod;
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result =
                cgroup_place(node.cgroup_driver, pod_cgroup_parent(pod), pod->id, &place, job->err);
        if (result == 0)
                cgroup_parent_remove(&node.cgroups, place.parent, pod->parent_made);
        return result;
}

/* Whoever stays in the parent takes over that we made it. */
static bool pass_on(const struct pod *pod)
{
        bool passed = false;
        size_t cursor = 0;
        for (struct pod *other; (other = table_next(node.pods, &cursor, NULL));) {
                if (other->left_cgroup ||
                    strcmp(pod_cgroup_parent(other), pod_cgroup_parent(pod)) != 0)
                        continue;
                passed = true;
                if (!other->parent_made)
                        other->parent_made = xstrdup(pod->parent_made);
        }
        return passed;
}

int pod_leave_cgroup(struct pod *pod, struct error *err)
{
        struct job job = {.pod = pod, .err = err};
        int result = 0;
        task_lock(&parents, CLOCK_NEVER);
        pod->left_cgroup = true;
        if (pod->parent_made && !pass_on(pod))
                result = task_offload(remove_on_worker, &job);
        task_unlock(&parents);
        return result;
}
