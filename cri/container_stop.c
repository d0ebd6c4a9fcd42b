/* StopContainer and RemoveContainer. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cri/container.h"
#include "cri/metric_counts.h"
#include "cri/container_stuck.h"
#include "cri/record.h"
#include "oci/cgroup.h"
#include "oci/shim.h"

#define KILL_AGAIN_FIRST   (100 * NSEC_PER_MSEC)
#define KILL_AGAIN_LONGEST NSEC_PER_SEC
#define STUCK_TEXT_MAX     256
#define SHIM_ANSWER_TIME   (5 * NSEC_PER_SEC) /* for one that is asked whether it is there */

/* Waits for the end of a container until a deadline: 0 when it has ended. */
static int wait_for_end(struct container *container, int64_t deadline)
{
        int result = 0;
        while (container_may_run(container) && result == 0)
                result = task_wait(&container->ended, deadline);
        return container_may_run(container) ? result : 0;
}

static int thaw_on_worker(void *argument)
{
        const struct container *container = argument;
        cgroup_thaw(&node.cgroups, container->cgroup_path);
        return 0;
}

static void thaw(struct container *container)
{
        task_offload(thaw_on_worker, container);
}

/*
 * SIGKILL, and again: what was frozen meanwhile is thawed, for it ends no sooner. Waits until the
 * container has ended or the deadline; as wait_for_end.
 */
static int kill_until(struct container *container, int64_t deadline)
{
        int64_t pause = KILL_AGAIN_FIRST;
        for (;;) {
                container_signal(container, SIGKILL);
                int64_t again = clock_after(pause);
                int result = wait_for_end(container, again < deadline ? again : deadline);
                if (result != -ETIMEDOUT || clock_monotonic() >= deadline)
                        return result;
                thaw(container);
                pause = pause * 2 < KILL_AGAIN_LONGEST ? pause * 2 : KILL_AGAIN_LONGEST;
        }
}

static bool first_process_has_ended(const struct container *container)
{
        struct pollfd process = {.fd = container->pidfd, .events = POLLIN};
        return container->pidfd >= 0 && poll(&process, 1, 0) == 1;
}

static int tell_stuck(struct container *container, struct error *err)
{
        char left[STUCK_TEXT_MAX];
        unsigned seconds = node.config->runtime.stop_timeout;
        container_describe_stuck(container, left, sizeof left);
        metric_counts[COUNT_STUCK]++;
        log_warning("a killed container does not end", "container", container->id, "left", left,
                    NULL);
        return error_set(err, ERROR_DEADLINE_EXCEEDED,
                         "process %d has not ended %u s after SIGKILL: it may wait for a disk or a "
                         "network file system%s",
                         (int)container->pid, seconds, left);
}

/*
 * Whether it is the pod's shim that keeps a container from ending: one that does not answer, or
 * whose machine may have died. One that answers, and drives processes of this machine, has done
 * what it could: what they wait for the kernel says.
 */
static bool hangs_by_its_shim(const struct container *container)
{
        const struct runtime_handler *handler = container->pod->handler;
        if (!handler || handler->kind != RUNTIME_KIND_SHIM)
                return false;
        return handler->sandbox || !shim_answers(container->pod->id, clock_after(SHIM_ANSWER_TIME));
}

static int kill_and_wait(struct container *container, struct error *err)
{
        int64_t patience = node.config->runtime.stop_timeout * NSEC_PER_SEC;
        int result = kill_until(container, clock_after(patience));
        if (result == -ETIMEDOUT && hangs_by_its_shim(container)) {
                /* Without it nothing of the pod can be used any more, and with it neither. */
                log_warning("a container does not end: killing its pod's shim", "container",
                            container->id, "pod", container->pod->id, NULL);
                shim_kill(container->pod->id);
                result = wait_for_end(container, clock_after(patience));
        }
        if (result == -ETIMEDOUT && first_process_has_ended(container) && container->monitor) {
                /* Nothing is left to watch, and it would wait for ever: that it goes is an end that
                 * nobody saw. */
                pid_t pid = monitor_pid(container->monitor);
                log_warning("a container's monitor does not tell its end: killing the monitor",
                            "container", container->id, NULL);
                if (pid > 0)
                        kill(pid, SIGKILL);
                result = wait_for_end(container, clock_after(patience));
        }
        if (result == -ECANCELED)
                return error_set(err, ERROR_CANCELLED,
                                 "the client went away before the container had ended");
        return result < 0 ? tell_stuck(container, err) : 0;
}

/*
 * The signal, the grace period, SIGKILL. Each call has its own grace period, so that a later,
 * shorter one ends an earlier, longer one. When the client goes away nothing more happens: the
 * kubelet will come back.
 */
static int stop_gracefully(struct container *container, int64_t seconds, struct error *err)
{
        if (seconds > 0) {
                if (!container->stop_signalled)
                        container_signal(container, container->stop_signal);
                container->stop_signalled = true;
                int64_t grace =
                        seconds < INT64_MAX / NSEC_PER_SEC ? seconds * NSEC_PER_SEC : INT64_MAX;
                int result = wait_for_end(container, clock_after(grace));
                if (result == 0)
                        return 0;
                if (result == -ECANCELED)
                        return error_set(err, ERROR_CANCELLED,
                                         "the client went away during the grace period");
        }
        return kill_and_wait(container, err);
}

int container_stop_handler(struct rpc *rpc, const void *request_, void *response, struct error *err)
{
        const Runtime__V1__StopContainerRequest *request = request_;
        AUTO_CONTAINER struct container *container = NULL;
        (void)rpc;
        (void)response;
        int result = container_find(request->container_id, &container, err);
        if (result == -ENOENT)
                return 0;
        if (result < 0)
                return result;
        task_set_interruptible(true);
        /* One that is just being started is stopped when it runs. */
        while (container->phase == CONTAINER_STARTING && container->lock.held && result == 0)
                result = task_wait(&container->lock.released, CLOCK_NEVER);
        if (result < 0)
                return error_set(err, ERROR_CANCELLED, "stop container %s: the client went away",
                                 container->id);
        if (!container_may_run(container))
                return 0;
        result = stop_gracefully(container, request->timeout, err);
        task_set_interruptible(false);
        return result < 0 ? error_context(err, "stop container %s", container->id) : 0;
}

int container_end(struct container *container, struct error *err)
{
        task_lock(&container->lock, CLOCK_NEVER);
        int result = container_may_run(container) ? kill_and_wait(container, err) : 0;
        struct error unclean;
        /* What cannot be cleaned up now keeps nobody from stopping the pod: removing the container
         * tries again. */
        if (result == 0 && container->phase == CONTAINER_EXITED &&
            container_clean_up(container, false, &unclean) < 0)
                log_failure(&unclean, "cleaning up after a container", "container", container->id,
                            NULL);
        container_step(container, NULL);
        task_unlock(&container->lock);
        return result;
}

static int remove_locked(struct container *container, struct error *err)
{
        int result = container_may_run(container) ? kill_and_wait(container, err) : 0;
        if (result == 0)
                result = container_clean_up(container, true, err);
        if (result < 0)
                return result;
        container_step(container, "removing its files");
        result = record_remove(node.containers_dir, container->id, err);
        if (result == 0)
                container_withdraw(container);
        return result;
}

int container_remove(struct container *container, struct error *err)
{
        task_lock(&container->lock, CLOCK_NEVER);
        container->removing = true;
        int result = container->phase == CONTAINER_REMOVED ? 0 : remove_locked(container, err);
        container->removing = false;
        event_signal(&container->settled);
        container_step(container, NULL);
        task_unlock(&container->lock);
        return result < 0 ? error_context(err, "remove container %s", container->id) : 0;
}

int container_remove_handler(struct rpc *rpc, const void *request_, void *response,
                             struct error *err)
{
        const Runtime__V1__RemoveContainerRequest *request = request_;
        AUTO_CONTAINER struct container *container = NULL;
        (void)rpc;
        (void)response;
        int result = container_find(request->container_id, &container, err);
        if (result == -ENOENT)
                return 0;
        return result < 0 ? result : container_remove(container, err);
}
