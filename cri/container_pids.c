#include "cri/container_pids.h"

#include <fcntl.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/memory.h"
#include "network/namespace.h"

#define FIELD "config.linux.security_context.namespace_options.target_id"

const Runtime__V1__NamespaceOption *container_namespaces(const struct container *container)
{
        const Runtime__V1__NamespaceOption *own = container_security(container)->namespace_options;
        return own ? own : pod_namespaces(container->pod);
}

bool container_has_own_pids(const struct container *container)
{
        return container_namespaces(container)->pid == RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
}

char *container_target_path(const struct container *container)
{
        return container_run_path(container, "ns/pid");
}

/* *target is a new reference, or null where it has none. */
static int find_target(const struct container *container, struct container **target,
                       struct error *err)
{
        const Runtime__V1__NamespaceOption *options = container_namespaces(container);
        AUTO_CONTAINER struct container *found = NULL;
        *target = NULL;
        if (options->pid != RUNTIME__V1__NAMESPACE_MODE__TARGET)
                return 0;
        int result = container_find(options->target_id, &found, err);
        if (result < 0)
                return error_context(err, FIELD);
        if (found->pod != container->pod)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 FIELD ": container %s is in pod %s, and not in this one",
                                 found->id, found->pod->id);
        if (found->phase != CONTAINER_RUNNING || found->pidfd < 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 FIELD ": container %s does not run: there is no PID namespace to "
                                       "join",
                                 found->id);
        *target = take_ptr(found);
        return 0;
}

int container_check_target(const struct container *container, struct error *err)
{
        AUTO_CONTAINER struct container *target = NULL;
        return find_target(container, &target, err);
}

struct pin_job {
        const char *path;
        pid_t pid;
        int pidfd;
        struct error *err;
};

static int pin_on_worker(void *argument)
{
        const struct pin_job *job = argument;
        struct pollfd ended = {.fd = job->pidfd, .events = POLLIN};
        int result = namespace_pin_process(job->pid, "pid", job->path, job->err);
        if (result < 0)
                return result;
        /* Alive after it was pinned, it was its namespace and not that of a later process. */
        if (poll(&ended, 1, 0) == 0)
                return 0;
        return error_set(job->err, ERROR_FAILED_PRECONDITION,
                         FIELD ": the target has ended meanwhile");
}

int container_pin_target(const struct container *container, struct error *err)
{
        AUTO_CONTAINER struct container *target = NULL;
        int result = find_target(container, &target, err);
        if (result < 0 || !target)
                return result;
        AUTO_FREE char *path = container_target_path(container);
        AUTO_FD int pidfd = fcntl(target->pidfd, F_DUPFD_CLOEXEC, 0);
        if (pidfd < 0)
                return error_errno(err, errno, "duplicate a pidfd");
        struct pin_job job = {.path = path, .pid = target->pid, .pidfd = pidfd, .err = err};
        return task_offload(pin_on_worker, &job);
}

int container_unpin_target(const struct container *container, struct error *err)
{
        AUTO_FREE char *directory = container_run_path(container, "ns");
        return namespace_unpin(directory, err);
}
