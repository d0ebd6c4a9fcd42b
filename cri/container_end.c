/* How a container ends: signals, its exit as its monitor tells it, and the cleaning up after it. */
#include "cri/container.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/container_pids.h"
#include "cri/image_volume.h"
#include "cri/metric_counts.h"
#include "cri/mount_idmap.h"
#include "cri/record.h"
#include "cri/seccomp_notifier.h"
#include "cri/stats_source.h"
#include "cri/tuning.h"
#include "image/rootfs.h"
#include "oci/exec.h"
#include "oci/cgroup.h"
#include "oci/shim.h"

#define SIGNAL_TIME        (10 * NSEC_PER_SEC) /* for a shim to send one */
#define SHIM_ANSWER_TIME   (2 * NSEC_PER_SEC)  /* for one that is asked whether it is there */
#define CLEAN_UPS_AT_ONCE  8
#define CGROUP_REMOVE_TIME (2 * NSEC_PER_SEC)

/* ---- signals ---- */

struct cgroup_job {
        struct container *container;
        int64_t deadline;
        struct error *err;
};

static int kill_cgroup_on_worker(void *argument)
{
        struct cgroup_job *job = argument;
        return cgroup_kill(&node.cgroups, job->container->cgroup_path, job->deadline, job->err);
}

static int kill_cgroup(struct container *container, struct error *err)
{
        struct cgroup_job job = {
                .container = container,
                .deadline = clock_after(node.config->runtime.stop_timeout * NSEC_PER_SEC),
                .err = err};
        return task_offload(kill_cgroup_on_worker, &job);
}

static void kill_cgroup_task(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        if (kill_cgroup(container, &err) < 0)
                log_failure(&err, "killing a container's processes", "container", container->id,
                            NULL);
        container->killing_cgroup = false;
}

/* One that the runtime has to be asked for: the process that we see may be a virtual machine's. */
struct signal_job {
        struct container *container;
        int signal;
};

static void ask_to_signal(void *argument)
{
        struct signal_job *job = argument;
        AUTO_CONTAINER struct container *container = job->container;
        struct error err;
        bool all = job->signal == SIGKILL && !container_has_own_pids(container);
        if (runtime_kill(container->pod->handler, container->id, job->signal, all,
                         clock_after(SIGNAL_TIME), &err) < 0)
                log_failure(&err, "a signal could not be sent", "container", container->id, NULL);
        free(job);
}

void container_signal(struct container *container, int signal)
{
        const struct runtime_handler *handler = container->pod->handler;
        if (!container_may_run(container))
                return;
        if (handler && handler->kind == RUNTIME_KIND_SHIM) {
                struct signal_job *job = xcalloc(1, sizeof *job);
                *job = (struct signal_job){container_ref(container), signal};
                task_start("signal container", ask_to_signal, job);
                return;
        }
        if (container->pidfd < 0)
                return;
        /* ESRCH: it has just ended, and its monitor is about to say so. */
        if (syscall(SYS_pidfd_send_signal, container->pidfd, signal, NULL, 0) < 0 && errno != ESRCH)
                log_error("a signal could not be sent", "container", container->id, "error",
                          strerrordesc_np(errno), NULL);
        if (signal != SIGKILL || container_has_own_pids(container) || container->killing_cgroup)
                return;
        container->killing_cgroup = true;
        task_start("kill container's cgroup", kill_cgroup_task, container_ref(container));
}

/* ---- exits ---- */

/*
 * Cleaning up that nobody waits for: after a reboot every container has ended at once, and as many
 * runtimes started together would leave the daemon no time to answer. A request for one that waits
 * here cleans it up itself.
 */
struct clean_up {
        struct container *container; /* a reference */
        struct clean_up *next;
};

static struct {
        struct clean_up *first, **last;
        unsigned tasks;
} clean_ups = {.last = &clean_ups.first};

static void clean_up(struct container *container)
{
        struct error err;
        task_lock(&container->lock, CLOCK_NEVER);
        if (container->phase == CONTAINER_EXITED && container_clean_up(container, false, &err) < 0)
                log_failure(&err, "cleaning up after a container", "container", container->id,
                            NULL);
        /* So that the next daemon neither cleans up nor tells of its end again. */
        if (container->phase == CONTAINER_EXITED && container_save(container, false, &err) < 0)
                log_failure(&err, "the container's record is not up to date", "container",
                            container->id, NULL);
        container_step(container, NULL);
        task_unlock(&container->lock);
}

static void clean_up_task(void *argument)
{
        (void)argument;
        for (struct clean_up *next; (next = clean_ups.first);) {
                AUTO_CONTAINER struct container *container = next->container;
                clean_ups.first = next->next;
                if (!clean_ups.first)
                        clean_ups.last = &clean_ups.first;
                free(next);
                clean_up(container);
        }
        clean_ups.tasks--;
}

void container_clean_up_later(struct container *container)
{
        struct clean_up *last = xcalloc(1, sizeof *last);
        last->container = container_ref(container);
        *clean_ups.last = last;
        clean_ups.last = &last->next;
        if (clean_ups.tasks < CLEAN_UPS_AT_ONCE) {
                clean_ups.tasks++;
                task_start("clean up containers", clean_up_task, NULL);
        }
}

static void finish(struct container *container, int exit_code, const char *reason,
                   int64_t finished_at)
{
        container->phase = CONTAINER_EXITED;
        metric_counts[COUNT_ENDED]++;
        container->exit_code = exit_code;
        container->reason = reason;
        container->finished_at = finished_at;
        container->pid = 0;
        if (container->pidfd >= 0)
                close(take_fd(&container->pidfd));
        monitor_free(take_ptr(container->monitor));
        seccomp_notifier_close(container);
        event_signal(&container->ended);
        if (!container->starting)
                events_tell_container(container, EVENT_STOPPED);
        container_clean_up_later(container);
}

static void count_lost_lines(const struct container *container, const struct monitor_exit *exit)
{
        char lines[24];
        metric_counts[COUNT_LOG_LINES_LOST] += exit->log_lost_lines;
        metric_counts[COUNT_JOURNAL_LINES_LOST] += exit->journal_lost_lines;
        if (!exit->log_lost_lines)
                return;
        snprintf(lines, sizeof lines, "%llu", (unsigned long long)exit->log_lost_lines);
        log_warning("lines of a container could not be written to its log", "container",
                    container->id, "lines", lines, NULL);
}

/* A command in it, which the monitor has not seen. */
static bool command_was_killed(const struct container *container)
{
        AUTO_FREE char *mark = container_run_path(container, EXEC_OOM_MARK);
        return access(mark, F_OK) == 0;
}

void container_exited(struct container *container, const struct monitor_exit *exit)
{
        if (container->phase == CONTAINER_EXITED)
                return;
        bool oom_killed = exit->oom_killed || (container->oom_told && exit->exit_code != 0) ||
                          command_was_killed(container);
        const char *reason = oom_killed             ? "OOMKilled"
                             : exit->exit_code == 0 ? "Completed"
                                                    : "Error";
        container->exit_told = true;
        metric_counts[COUNT_OOM_KILLED] += oom_killed;
        count_lost_lines(container, exit);
        if (container->forbidden_calls) {
                reason = SECCOMP_NOTIFIER_REASON;
                free(container->message);
                container->message = take_ptr(container->forbidden_calls);
        }
        finish(container, exit->exit_code, reason, exit->finished_at);
        char code[16];
        snprintf(code, sizeof code, "%d", exit->exit_code);
        log_info("container has exited", "container", container->id, "code", code, "reason", reason,
                 NULL);
}

void container_exited_unseen(struct container *container, const char *message)
{
        if (container->phase == CONTAINER_EXITED || container->phase == CONTAINER_REMOVED)
                return;
        free(container->message);
        container->message = xstrdup(message);
        metric_counts[COUNT_ENDED_UNSEEN]++;
        finish(container, 255, "Unknown", clock_real());
        container_save_later(container);
        log_warning("nobody saw how the container ended", "container", container->id, NULL);
}

void container_start_failed(struct container *container, const struct error *reason)
{
        free(container->message);
        container->message = xstrdup(reason->message);
        metric_counts[COUNT_FAILED_TO_START]++;
        finish(container, 128, "StartError", clock_real());
}

struct exit_job {
        const struct container *container;
        struct monitor_exit exit;
        bool all_ended; /* so that what the kernel counts is all there will be */
        bool known;
        struct error *err;
};

int container_read_exit(const struct container *container, struct monitor_exit *exit,
                        struct error *err)
{
        AUTO_FREE char *directory = container_state_path(container, "");
        int result = exit_record_read(directory, exit, err);
        if (result != -ENOENT || (!command_was_killed(container) &&
                                  !cgroup_oom_killed(&node.cgroups, container->cgroup_path)))
                return result;
        /* Its exit code nobody will know; that it was short of memory the kernel still says, until
         * the cgroup goes. */
        *exit = (struct monitor_exit){.pid = container->pid,
                                      .start_time = container->start_time,
                                      .exit_code = 128 + SIGKILL,
                                      .signal = SIGKILL,
                                      .oom_killed = true,
                                      .finished_at = clock_real()};
        struct error unsaved;
        if (exit_record_write_for(directory, exit, &unsaved) < 0)
                log_failure(&unsaved, "the exit of a container could not be recorded", "container",
                            container->id, NULL);
        return 0;
}

static int read_exit_on_worker(void *argument)
{
        struct exit_job *job = argument;
        AUTO_FREE char *directory = container_state_path(job->container, "");
        int result = job->all_ended ? container_read_exit(job->container, &job->exit, job->err)
                                    : exit_record_read(directory, &job->exit, job->err);
        job->known = result == 0;
        return 0;
}

/* Without it the container's output goes nowhere and its exit code would never be known. */
static void end_without_monitor(struct container *container)
{
        const struct runtime_handler *handler = container->pod->handler;
        struct error err;
        if (handler && handler->kind == RUNTIME_KIND_SHIM &&
            !shim_answers(container->pod->id, clock_after(SHIM_ANSWER_TIME))) {
                log_error("the container's shim has gone: ending the container", "container",
                          container->id, NULL);
        } else {
                metric_counts[COUNT_MONITORS_LOST]++;
                log_error("the container's monitor has gone: ending the container", "container",
                          container->id, NULL);
        }
        if (kill_cgroup(container, &err) < 0)
                log_failure(&err, "killing a container's processes", "container", container->id,
                            NULL);
}

/* The monitor went without a word: perhaps it wrote the record and could not say so, perhaps it was
 * killed. */
static void monitor_gone_task(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        struct error err;
        struct exit_job job = {.container = container, .err = &err};
        task_offload(read_exit_on_worker, &job);
        if (!job.known) {
                end_without_monitor(container);
                job.all_ended = true;
                task_offload(read_exit_on_worker, &job);
        }
        if (container->phase == CONTAINER_EXITED || container->phase == CONTAINER_REMOVED)
                return;
        if (job.known)
                container_exited(container, &job.exit);
        else
                container_exited_unseen(container,
                                        "its monitor, or its pod's shim, had ended before it, "
                                        "and nobody else could see how it ended");
}

static void on_exit_told(void *argument, const struct monitor_exit *exit)
{
        struct container *container = argument;
        if (exit)
                container_exited(container, exit);
        else
                task_start("monitor is gone", monitor_gone_task, container_ref(container));
}

int container_connect(struct container *container, struct error *err)
{
        /* Before its monitor can tell of an end. One that runs on is not traced, but its execs ask
         * for somebody who listens. */
        if (container->seccomp_notifies) {
                int result = seccomp_notifier_open(container, err);
                if (result < 0)
                        return result;
        }
        AUTO_FREE char *socket = container_run_path(container, "monitor.sock");
        return monitor_connect(socket, on_exit_told, container, &container->monitor, err);
}

/* ---- cleaning up ---- */

struct unmount_job {
        const struct container *container;
        bool keep_monitor; /* unless its record is there */
        bool kept;
        struct error *err;
};

/* A runtime that says that it deleted the container may have left its cgroup: in a hierarchy that
 * it does not know, with a command of ours in it, or because it was killed while it created the
 * container and knows nothing of it. */
static int remove_left_cgroup(const struct unmount_job *job)
{
        const char *path = job->container->cgroup_path;
        if (!path || !cgroup_exists(&node.cgroups, path))
                return 0;
        int64_t deadline = clock_after(CGROUP_REMOVE_TIME);
        int result = cgroup_kill(&node.cgroups, path, deadline, job->err);
        return result < 0 ? result : cgroup_remove(&node.cgroups, path, deadline, job->err);
}

static int unmount_on_worker(void *argument)
{
        struct unmount_job *job = argument;
        AUTO_FREE char *rootfs = container_run_path(job->container, "rootfs");
        AUTO_FREE char *directory = container_run_path(job->container, "");
        AUTO_FREE char *exit_record = container_state_path(job->container, MONITOR_EXIT_RECORD);
        if (job->container->seccomp_notifies) {
                /* That of a daemon that did not see the end. */
                AUTO_FREE char *listener = seccomp_notifier_path(job->container);
                unlink(listener);
        }
        int result = remove_left_cgroup(job);
        if (result == 0)
                result = rootfs_unmount(rootfs, job->err);
        if (result == 0)
                result = image_volumes_unmount(job->container, job->err);
        if (result == 0)
                result = mount_idmap_unmount(job->container, job->err);
        if (result == 0)
                result = container_unpin_target(job->container, job->err);
        if (result < 0)
                return result;
        job->kept = job->keep_monitor && access(exit_record, F_OK) < 0;
        return job->kept ? 0 : file_remove_tree(directory, job->err);
}

struct remove_cgroup_job {
        const struct container *container;
        struct error *err;
};

static int remove_cgroup_on_worker(void *argument)
{
        struct remove_cgroup_job *job = argument;
        return cgroup_remove(&node.cgroups, job->container->cgroup_path,
                             clock_after(CGROUP_REMOVE_TIME), job->err);
}

/*
 * A runtime that cannot delete, or has gone, does not keep its containers here for ever: the kernel
 * says whether anything of one is left.
 */
static int delete_without_runtime(struct container *container, const struct error *why,
                                  struct error *err)
{
        struct remove_cgroup_job job = {.container = container, .err = err};
        int result = kill_cgroup(container, err);
        if (result == 0)
                result = task_offload(remove_cgroup_on_worker, &job);
        if (result == 0)
                log_failure(why, "the runtime did not delete a container of which nothing is left",
                            "container", container->id, NULL);
        return result;
}

static int delete_from_runtime(struct container *container, struct error *err)
{
        const struct runtime_handler *handler = container->pod->handler;
        struct error why;
        int64_t deadline = clock_after(container_runtime_patience(container));
        int result = handler ? runtime_delete(handler, container->id, true, deadline, &why)
                             : error_set(&why, ERROR_FAILED_PRECONDITION,
                                         "its runtime handler is not configured any more");
        if (result < 0) {
                result = delete_without_runtime(container, &why, err);
                /* crun, told to delete one whose hook fails, fails itself now and then. */
                if (result == 0 && handler)
                        runtime_forget(handler, container->id);
        }
        container->in_runtime = result < 0;
        return result;
}

int container_clean_up(struct container *container, bool removing, struct error *err)
{
        if (container->clean)
                return 0;
        int result = 0;
        stats_source_close(container->stats);
        stats_source_unref(take_ptr(container->stats));
        if (!container_has_own_pids(container)) {
                container_step(container, "ending its processes");
                result = kill_cgroup(container, err);
        }
        if (result == 0 && container->in_runtime) {
                container_step(container, "deleting it from the runtime");
                result = delete_from_runtime(container, err);
        }
        if (result == 0)
                result = tuning_end(container, err);
        struct unmount_job job = {.container = container,
                                  .keep_monitor = container->exit_told && !removing,
                                  .err = err};
        if (result == 0) {
                container_step(container, "unmounting its root");
                result = task_offload(unmount_on_worker, &job);
        }
        if (result < 0)
                return error_context(err, "clean up container %s", container->id);
        container->clean = !job.kept;
        return 0;
}
