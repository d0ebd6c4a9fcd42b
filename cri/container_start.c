/* StartContainer: the runtime's create under a monitor, then its start. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "cri/container.h"
#include "cri/container_pids.h"
#include "cri/pod_logs.h"
#include "cri/seccomp_notifier.h"
#include "cri/container_resources.h"
#include "cri/tuning.h"
#include "oci/cgroup.h"
#include "oci/scope.h"

#define END_DEADLINE (5 * NSEC_PER_SEC) /* for a container that failed to start to go away */

struct leaf_job {
        struct container *container;
        struct cgroup_leaf *leaf;
        struct error *err;
};

/* One leaf for all monitors: nothing to make and to remove with each container. */
static int prepare_on_worker(void *argument)
{
        struct leaf_job *job = argument;
        static const char *const controllers[] = {"pids", "memory", NULL};
        AUTO_FREE char *log = xstrdup(job->container->log_path);
        int result = 0;
        if (log) {
                *strrchr(log, '/') = '\0';
                result = file_make_directories(log, 0755, job->err);
        }
        if (result == 0)
                result = pod_logs_link(job->container, job->err);
        if (result < 0)
                return result;
        return cgroup_leaf_make(&node.cgroups, node.config->runtime.monitor_cgroup, controllers,
                                job->leaf, job->err);
}

/* As Kubernetes' containers have been named in journals since docker's days. */
static char *journal_name(const struct container *container)
{
        const Runtime__V1__ContainerMetadata *metadata = container_config(container)->metadata;
        const Runtime__V1__PodSandboxMetadata *pod = container->pod->request->config->metadata;
        return xprintf("k8s_%s_%s_%s_%s_%u", metadata->name, pod->name, pod->namespace_, pod->uid,
                       metadata->attempt);
}

static int start_monitor(struct container *container, int64_t deadline, struct error *err)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        AUTO_CGROUP_LEAF struct cgroup_leaf leaf = CGROUP_LEAF_INIT;
        struct leaf_job job = {.container = container, .leaf = &leaf, .err = err};
        int result = task_offload(prepare_on_worker, &job);
        if (result < 0)
                return result;
        AUTO_FREE char *directory = container_state_path(container, "");
        AUTO_FREE char *bundle = container_state_path(container, "bundle");
        AUTO_FREE char *socket = container_run_path(container, "monitor.sock");
        AUTO_FREE char *pid_file = container_run_path(container, "pid");
        AUTO_FREE char *runtime_log = container_run_path(container, "runtime.log");
        AUTO_FREE char *oom_file = cgroup_oom_file(&node.cgroups, container->cgroup_path);
        AUTO_FREE char *oom_parent_file =
                cgroup_oom_parent_file(&node.cgroups, node.cgroup_driver, container->cgroup_path);
        AUTO_FREE char *folder = container_run_path(container, "");
        CLEANUP(runtime_create_fini)
        struct runtime_create create = {.id = container->id,
                                        .bundle = bundle,
                                        .folder = folder,
                                        .pid_file = pid_file,
                                        .log = runtime_log,
                                        .terminal = config->tty,
                                        .stdin_open = config->stdin};
        result = runtime_prepare_create(container->pod->handler, &create, deadline, err);
        if (result < 0)
                return result;
        struct monitor_options options = MONITOR_OPTIONS_INIT;
        options.program = node.monitor_program;
        options.id = container->id;
        options.directory = directory;
        options.socket_path = socket;
        options.pid_file = pid_file;
        options.log_path = container->log_path;
        options.log_size_max = node.config->runtime.log_size_max;
        options.log_files_max = node.config->runtime.log_files_max;
        options.log_line_max = node.config->runtime.log_line_max;
        AUTO_FREE char *name = journal_name(container);
        if (node.config->runtime.log_to_journald)
                options.journal_socket = node.config->runtime.journald_socket;
        options.name = options.journal_socket ? name : NULL;
        options.oom_file = oom_file;
        options.oom_parent_file = oom_parent_file;
        options.runtime_log = runtime_log;
        options.terminal = config->tty;
        options.stdin_open = config->stdin;
        options.stdin_once = config->stdin_once;
        options.command = create.command;
        options.shim = create.shim;
        options.shim_create = create.shim_create;
        options.shim_wait = create.shim_wait;
        options.shim_close = create.shim_close;
        options.fifos = folder;
        options.environment = runtime_environment();
        options.cgroup_fd = leaf.fd;
        options.cgroup_v1_tasks = (const char *const *)leaf.tasks;
        options.deadline = deadline;
        struct monitor_started started = {0};
        if (container->seccomp_notifies)
                result = seccomp_notifier_open(container, err);
        if (result == 0)
                result = monitor_start(&options, &started, err);
        if (result < 0)
                return result;
        container->pid = started.pid;
        container->start_time = started.start_time;
        return 0;
}

struct bundle_job {
        const struct container *container;
        struct error *err;
};

/* Its limits were changed after its bundle was written. */
static int renew_bundle_on_worker(void *argument)
{
        struct bundle_job *job = argument;
        const struct container *container = job->container;
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_FREE char *bundle = container_state_path(container, "bundle");
        struct spec_resources limits;
        container_resources_spec(container, container->resources, arena, &limits);
        return spec_change_resources(bundle, &limits, true,
                                     (int)container->resources->oom_score_adj, job->err);
}

static int renew_bundle(const struct container *container, struct error *err)
{
        struct bundle_job job = {.container = container, .err = err};
        return container->bundle_outdated ? task_offload(renew_bundle_on_worker, &job) : 0;
}

/* From here on its end is seen. */
static int watch_it(struct container *container, struct error *err)
{
        int fd = process_open(container->pid, container->start_time);
        if (fd >= 0)
                container->pidfd = fd;
        else if (fd != -ESRCH)
                return error_errno(err, fd, "open process %d", (int)container->pid);
        return container_connect(container, err);
}

static int tell_systemd_on_worker(void *argument)
{
        struct bundle_job *job = argument;
        return scope_tell(&node.cgroups, job->container->cgroup_path, job->err);
}

void container_tell_systemd(struct container *container)
{
        struct error err;
        struct bundle_job job = {.container = container, .err = &err};
        if (node.cgroup_driver != CGROUP_DRIVER_SYSTEMD || node.cgroups.mode != CGROUP_MODE_V2)
                return;
        container_step(container, "telling systemd its limits");
        if (task_offload(tell_systemd_on_worker, &job) < 0)
                log_failure(&err, "systemd's next daemon-reload may undo the container's limits",
                            "container", container->id, NULL);
}

/* Not every runtime says what it could not run. */
static void name_command(const struct container *container, struct error *err)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        if (config->n_command && !strstr(err->message, config->command[0]))
                error_context(err, "command \"%s\"", config->command[0]);
}

static int start(struct container *container, struct error *err)
{
        int64_t deadline = clock_after(container_runtime_patience(container));
        container_step(container, "writing the record");
        container->phase = CONTAINER_STARTING;
        /* About: it is all that is known of the time if a crash cuts off what follows. */
        container->started_at = clock_real();
        int result = container_save_run(container, err);
        if (result < 0) {
                container->phase = CONTAINER_CREATED;
                container->started_at = 0;
                return result;
        }
        container_step(container, "creating it with the runtime");
        container->starting = true;
        container->clean = false;
        container->in_runtime = true;
        result = renew_bundle(container, err);
        if (result == 0)
                result = tuning_prepare(container, err);
        if (result == 0) {
                result = start_monitor(container, deadline, err);
                if (result < 0)
                        name_command(container, err);
        }
        if (result == 0)
                result = watch_it(container, err);
        if (result == 0)
                result = tuning_begin(container, err);
        if (result == 0) {
                container_tell_systemd(container);
                container_step(container, "starting it with the runtime");
                container->started_at = clock_real();
                result = runtime_start(container->pod->handler, container->id, deadline, err);
        }
        if (result < 0) {
                struct error reason = *err;
                container_signal(container, SIGKILL);
                int64_t patience = clock_after(END_DEADLINE);
                while (container->monitor && container->phase != CONTAINER_EXITED &&
                       task_wait(&container->ended, patience) == 0)
                        ;
                container->started_at = 0;
                container_start_failed(container, &reason);
        } else if (container->phase == CONTAINER_STARTING) {
                container->phase = CONTAINER_RUNNING;
        }
        container->starting = false;
        if (result == 0)
                events_tell_container(container, EVENT_STARTED);
        if (container->phase == CONTAINER_EXITED)
                events_tell_container(container, EVENT_STOPPED);
        /* A failed start is told by the record alone; a running container also by its monitor. The
         * run folder's is newer than the other until it has gone, so it comes first. */
        struct error unsaved;
        int saved = container_save_run(container, &unsaved);
        if (result < 0)
                saved = container_save(container, false, &unsaved);
        if (saved < 0)
                log_failure(&unsaved, "the container's record is not up to date", "container",
                            container->id, NULL);
        if (result == 0)
                container_save_later(container);
        return result;
}

static int start_locked(struct container *container, struct error *err)
{
        struct pod *pod = container->pod;
        if (container->phase != CONTAINER_CREATED)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "container %s: it was started before, or has ended",
                                 container->id);
        pod_check(pod);
        if (pod->phase != POD_READY || pod->stopping)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "container %s: its pod %s is not ready", container->id, pod->id);
        if (!pod->handler)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "container %s: its pod's runtime handler \"%s\" is not configured "
                                 "any more",
                                 container->id, pod->request->runtime_handler);
        int result = container_check_target(container, err);
        if (result == 0)
                result = runtime_check(pod->handler, err);
        return result < 0 ? result : start(container, err);
}

int container_start_handler(struct rpc *rpc, const void *request_, void *response,
                            struct error *err)
{
        const Runtime__V1__StartContainerRequest *request = request_;
        AUTO_CONTAINER struct container *container = NULL;
        (void)rpc;
        (void)response;
        int result = container_find(request->container_id, &container, err);
        if (result < 0)
                return result;
        task_lock(&container->lock, CLOCK_NEVER);
        result = start_locked(container, err);
        container_step(container, NULL);
        task_unlock(&container->lock);
        return result < 0 ? error_context(err, "start container %s",
                                          container_config(container)->metadata->name)
                          : 0;
}
