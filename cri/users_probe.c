/* Whether this node can give pods users of their own: tried once, at the start. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/node.h"
#include "cri/pod_users.h"
#include "oci/idmap.h"

static struct {
        bool done;
        struct event found;
        struct error problem; /* its code is 0 where there is none */
        bool possible;
} probe;

/* ---- on a worker ---- */

/* The runtime mounts a container's root as root of the namespace, who is nobody on the host: all
 * folders above have to let everybody pass. */
static int check_way(const char *path, struct error *err)
{
        AUTO_FREE char *way = realpath(path, NULL);
        if (!way)
                return error_errno(err, errno, "look at %s", path);
        for (char *end = way + strlen(way); end > way; end = strrchr(way, '/')) {
                struct stat st;
                *end = '\0';
                if (stat(way, &st) < 0)
                        return error_errno(err, errno, "look at %s", way);
                if (!(st.st_mode & S_IXOTH))
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "folder %s lets only some users pass (mode %o), so that "
                                         "root of another user namespace does not get to %s",
                                         way, (unsigned)st.st_mode & 07777, path);
        }
        return 0;
}

/* What the worker looks at. It may still be at work when a daemon that could not start has freed
 * its node: so these are its own, for as long as the process is there. */
static struct {
        char *links, *target, *containers, *program;
        struct error err;
} job;

/* Overlayfs over a mapped store, as a container's root has it. */
static int try_mount(int namespace_fd, struct error *err)
{
        char none[] = "", pin[64];
        const char *target = job.target;
        struct rootfs rootfs = {
                .links = job.links, .lower = none, .root = none, .user_namespace = pin};
        snprintf(pin, sizeof pin, "/proc/self/fd/%d", namespace_fd);
        /* An earlier daemon may have died in the midst of it. */
        int result = rootfs_unmount(target, err);
        if (result == 0) {
                result = rootfs_mount(&rootfs, NULL, target, err);
                int unmounted = rootfs_unmount(target, result < 0 ? NULL : err);
                result = result < 0 ? result : unmounted;
        }
        rmdir(target);
        return result;
}

static int probe_on_worker(void *argument)
{
        struct error *err = &job.err;
        (void)argument;
        const struct spec_id_map range = {0, 65536, 65536};
        const struct idmap map = {&range, 1, &range, 1};
        int result = check_way(job.containers, err);
        if (result < 0)
                return result;
        AUTO_FD int namespace_fd = idmap_namespace(job.program, &map, err);
        return namespace_fd < 0 ? namespace_fd : try_mount(namespace_fd, err);
}

/* ---- in tasks ---- */

void users_probe(void)
{
        job.links = xprintf("%s/l", node.config->images.dir);
        job.target = xprintf("%s/users-probe", node.config->run_dir);
        job.containers = xstrdup(node.run_containers_dir);
        job.program = xstrdup(node.pause_program);
        int result = task_offload(probe_on_worker, NULL);
        if (result < 0) {
                probe.problem = job.err;
                log_failure(&job.err, "pods cannot have users of their own here", NULL);
        }
        probe.possible = result == 0;
        probe.done = true;
        event_signal(&probe.found);
}

void users_hear(int64_t deadline)
{
        while (!probe.done)
                if (task_wait(&probe.found, deadline) < 0)
                        break;
}

bool users_possible(void)
{
        return probe.possible;
}

int users_require(const struct runtime_handler *handler, struct error *err)
{
        while (!probe.done)
                task_wait(&probe.found, CLOCK_NEVER);
        if (!probe.possible)
                return error_set(err, ERROR_FAILED_PRECONDITION, "user namespace: %s",
                                 probe.problem.message);
        return handler->user_namespaces
                       ? 0
                       : error_set(err, ERROR_FAILED_PRECONDITION,
                                   "user namespace: runtime handler %s has none", handler->name);
}
