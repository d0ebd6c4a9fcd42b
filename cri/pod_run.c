/* RunPodSandbox: one pod for one name, however often and by whom it is asked for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cri/events.h"
#include "cri/pod.h"
#include "cri/pod_users.h"
#include "cri/record.h"
#include "cri/validate.h"

static void remove_unclaimed(void *argument)
{
        struct pod *pod = argument;
        struct error err;
        if (!pod->claimed && pod->phase != POD_REMOVED) {
                log_info("nobody has come back for this pod: removing it", "pod", pod->id, NULL);
                if (pod_remove(pod, &err) < 0)
                        log_failure(&err, "removing an unclaimed pod failed", "pod", pod->id, NULL);
        }
        pod_unref(pod);
}

static void unclaimed_too_long(void *argument)
{
        struct pod *pod = argument;
        timer_free(take_ptr(pod->unclaimed_timer));
        task_start("remove unclaimed pod", remove_unclaimed, pod_ref(pod));
}

/* Who asked may have gone away meanwhile: then the pod waits for the one who asks again. */
static void claim(struct pod *pod, const struct rpc *rpc)
{
        if (!rpc_cancelled(rpc)) {
                pod->claimed = true;
                timer_free(take_ptr(pod->unclaimed_timer));
                events_tell_pod(pod, EVENT_CREATED);
                events_tell_pod(pod, EVENT_STARTED);
        } else if (!pod->claimed && !pod->unclaimed_timer) {
                int64_t time = node.config->runtime.unclaimed_timeout * NSEC_PER_SEC;
                pod->unclaimed_timer = timer_new(clock_after(time), unclaimed_too_long, pod);
        }
}

static void settle(struct pod *pod, const struct error *failure)
{
        if (failure) {
                pod->failure = xcalloc(1, sizeof *pod->failure);
                *pod->failure = *failure;
        }
        event_signal(&pod->settled);
}

/*
 * What a failed creation left goes, and the pod with it. Where that fails too, the pod stays as one
 * that is not ready: then the kubelet sees it, and its removal tries again.
 */
static void give_up(struct pod *pod)
{
        struct error err;
        pod->phase = POD_CREATING;
        if (pod_tear_down(pod, &err) == 0 && pod_leave_cgroup(pod, &err) == 0 &&
            record_remove(node.pods_dir, pod->id, &err) == 0) {
                pod_withdraw(pod);
                return;
        }
        log_failure(&err, "cleaning up after a failed pod", "pod", pod->id, NULL);
        pod->phase = POD_NOTREADY;
        pod->stopping = true;
        pod->claimed = true;
        events_tell_pod(pod, EVENT_STOPPED);
        if (pod_save(pod, true, &err) < 0)
                log_failure(&err, "the pod's record is not up to date", "pod", pod->id, NULL);
}

static int create(struct pod *pod, struct error *err)
{
        pod_step(pod, "choosing its users");
        int result = pod_users_choose(pod, err);
        if (result < 0) {
                pod_withdraw(pod);
                return result;
        }
        pod_step(pod, "writing the intent");
        /* From here on a crash may leave addresses behind: who finds the record shall free them. */
        pod->attached = pod_has_network(pod);
        AUTO_JSON json_t *record = pod_record(pod);
        result = record_create(node.pods_dir, pod->id, &pod->request->base, record, err);
        if (result < 0) {
                pod_withdraw(pod);
                return result;
        }
        result = pod_set_up(pod, err);
        if (result == 0) {
                pod_step(pod, "writing the record");
                pod->phase = POD_READY;
                result = pod_save(pod, true, err);
        }
        if (result < 0)
                give_up(pod);
        return result;
}

/* Waits for the creation that somebody else began. */
static int join(struct pod *pod, struct error *err)
{
        task_set_interruptible(true);
        int result = 0;
        while (pod->phase == POD_CREATING && result == 0)
                result = task_wait(&pod->settled, CLOCK_NEVER);
        task_set_interruptible(false);
        if (pod->phase == POD_READY)
                return 0;
        if (pod->failure) {
                if (err)
                        *err = *pod->failure;
                return pod->failure->number;
        }
        if (result < 0)
                return error_set(err, ERROR_CANCELLED,
                                 "pod %s: the client went away while it was being created",
                                 pod->name);
        return error_set(err, ERROR_ABORTED, "pod %s was stopped while it was being created",
                         pod->name);
}

static int check_cgroup_parent(const Runtime__V1__RunPodSandboxRequest *request, struct error *err)
{
        static const char field[] = "config.linux.cgroup_parent";
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        const char *parent = request->config->linux ? request->config->linux->cgroup_parent : "";
        if (*parent && *parent != '/' && node.cgroup_driver == CGROUP_DRIVER_CGROUPFS)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: \"%s\" is not an absolute path",
                                 field, parent);
        int result = cgroup_place(node.cgroup_driver, parent, "pod", &place, err);
        return result < 0 ? error_context(err, "%s", field) : 0;
}

int pod_run_handler(struct rpc *rpc, const void *request_, void *response_, struct error *err)
{
        const Runtime__V1__RunPodSandboxRequest *request = request_;
        Runtime__V1__RunPodSandboxResponse *response = response_;
        int result = validate_pod(request, err);
        if (result < 0)
                return result;
        result = check_cgroup_parent(request, err);
        if (result < 0)
                return result;
        const struct runtime_handler *handler;
        result = node_handler_ready(request->runtime_handler, &handler, err);
        if (result < 0)
                return result;

        char id[ID_LENGTH + 1];
        id_generate(id);
        AUTO_POD struct pod *pod = pod_new(id, request);
        struct pod *other = table_get(node.pod_names, pod->name);
        if (other)
                pod_check(other);
        if (other &&
            (other->phase == POD_CREATING || (other->phase == POD_READY && !other->stopping))) {
                if (!record_same_message(&other->request->base, &request->base))
                        return error_set(err, ERROR_ALREADY_EXISTS,
                                         "pod %s: it exists with another configuration, as %s",
                                         pod->name, other->id);
                pod_unref(pod);
                pod = pod_ref(other);
                result = join(pod, err);
        } else {
                pod->handler = handler;
                pod->created_at = clock_real();
                if (*node.config->runtime.namespaces_dir) {
                        free(pod->namespaces);
                        pod->namespaces = xprintf("%s/%s", node.config->runtime.namespaces_dir, id);
                }
                pod->phase = POD_CREATING;
                pod_publish(pod);
                task_lock(&pod->lock, CLOCK_NEVER);
                task_shield(true);
                result = create(pod, err);
                task_shield(false);
                pod_step(pod, NULL);
                task_unlock(&pod->lock);
                settle(pod, result < 0 ? err : NULL);
                if (result < 0)
                        error_context(err, "run pod %s/%s", request->config->metadata->namespace_,
                                      request->config->metadata->name);
        }
        if (result < 0)
                return result;
        claim(pod, rpc);
        response->pod_sandbox_id = arena_strdup(rpc->arena, pod->id);
        return 0;
}
