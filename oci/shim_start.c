/* Starting and ending a pod's shim. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "oci/shim_connection.h"
#include "api/shim/task_v2.pb-c.h"

#define FOLDER_MODE   0700
#define SHUTDOWN_TIME (5 * NSEC_PER_SEC)  /* for a shim to end when it was told to */
#define KILL_TIME     (5 * NSEC_PER_SEC)  /* for a killed one */
#define CLEANUP_TIME  (10 * NSEC_PER_SEC) /* for the program's `delete` */

/* ---- starting ---- */

struct bundle_job {
        const struct shim *shim;
        const char *config;
        struct error *err;
};

static int make_bundle(void *argument)
{
        struct bundle_job *job = argument;
        AUTO_FREE char *bundle = shim_bundle(job->shim);
        AUTO_FREE char *config = xprintf("%s/config.json", bundle);
        int result = file_make_directories(bundle, FOLDER_MODE, job->err);
        return result < 0 ? result
                          : file_replace_volatile(config, job->config, strlen(job->config), 0600,
                                                  job->err);
}

static int start_program(struct shim *shim, const struct shim_start *start, int64_t deadline,
                         struct error *err)
{
        AUTO_FREE char *bundle = shim_bundle(shim);
        AUTO_BUFFER struct buffer answer = BUFFER_INIT;
        const struct shim_run run = {
                .handler = shim->handler,
                .id = shim->pod_id,
                .bundle = bundle,
                .action = "start",
                .cgroup_fd = start->cgroup_fd,
                .cgroup_v1_tasks = start->cgroup_v1_tasks,
        };
        int result = shim_run(&run, deadline, &answer, err);
        if (result < 0)
                return result;
        result = shim_bootstrap_parse(answer.data ? answer.data : "", answer.length,
                                      &shim->bootstrap, err);
        return result < 0 ? error_context(err, "%s start", shim->handler->name) : 0;
}

/* Who it is, so that it can be killed where it does not listen. */
static int ask_pid(struct shim *shim, int64_t deadline, struct error *err)
{
        Containerd__Task__V2__ConnectRequest request = CONTAINERD__TASK__V2__CONNECT_REQUEST__INIT;
        ProtobufCMessage *answer = NULL;
        request.id = shim->pod_id;
        int result = shim_ask(shim, "Connect", &request.base,
                              &containerd__task__v2__connect_response__descriptor, deadline,
                              &answer, err);
        /* Some know it only when there is a task. */
        if (result < 0)
                return shim_is_gone(err) ? result : 0;
        shim->pid = (pid_t)((Containerd__Task__V2__ConnectResponse *)answer)->shim_pid;
        shim->start_time = shim->pid > 0 ? process_start_time(shim->pid) : 0;
        protobuf_c_message_free_unpacked(answer, NULL);
        return 0;
}

static int start_shim(struct shim *shim, const struct shim_start *start, int64_t deadline,
                      struct error *err)
{
        struct bundle_job job = {.shim = shim, .config = start->config, .err = err};
        int result = task_offload(make_bundle, &job);
        if (result == 0)
                result = shim_log_open(shim, err);
        /* The intent: who finds it ends what the program may have started. */
        shim->sandboxed = shim->handler->sandbox;
        shim->sandbox_api = shim->handler->sandbox_api;
        if (result == 0)
                result = shim_record_write(shim, err);
        if (result == 0)
                result = start_program(shim, start, deadline, err);
        if (result == 0)
                result = shim_record_write(shim, err);
        if (result == 0)
                result = ask_pid(shim, deadline, err);
        if (result == 0)
                result = shim_record_write(shim, err);
        if (result == 0 && shim->sandboxed)
                result = shim_sandbox_start(shim, start, deadline, err);
        /* Kata's tells its process only now. */
        if (result == 0 && !shim->pid)
                result = ask_pid(shim, deadline, err);
        return result == 0 ? shim_record_write(shim, err) : result;
}

int shim_start(const struct shim_start *start, int64_t deadline, struct error *err)
{
        if (!shims.server)
                return error_set(
                        err, ERROR_FAILED_PRECONDITION,
                        "shims cannot be used: the socket for their events could not be made");
        shim_know(start->handler, start->pod_id, start->folder);
        AUTO_SHIM struct shim *shim = shim_of_pod(start->pod_id);
        int result = start_shim(shim, start, deadline, err);
        if (result == 0)
                return 0;
        struct error unended;
        if (shim_stop(start->pod_id, clock_after(SHUTDOWN_TIME + KILL_TIME + CLEANUP_TIME),
                      &unended) < 0)
                log_failure(&unended, "ending a shim that did not start well", "pod", start->pod_id,
                            NULL);
        return result;
}

/* ---- ending ---- */

static void shut_down(struct shim *shim, int64_t deadline)
{
        Containerd__Task__V2__ShutdownRequest request =
                CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;
        struct error err;
        request.id = shim->pod_id;
        request.now = true;
        if (shim_ask(shim, "Shutdown", &request.base, NULL, deadline, NULL, &err) < 0 &&
            !shim_is_gone(&err))
                log_failure(&err, "a shim does not shut down", "pod", shim->pod_id, NULL);
}

/* Waits until its process has ended, killing it where it does not. 0 also where nobody knows which
 * it is. */
static int end_process(struct shim *shim, struct error *err)
{
        AUTO_FD int fd = shim->pid > 0 ? process_open(shim->pid, shim->start_time) : -ESRCH;
        if (fd < 0)
                return 0;
        if (task_wait_fd(fd, EPOLLIN, clock_after(SHUTDOWN_TIME), NULL) == 0)
                return 0;
        log_warning("a shim does not end: killing it", "pod", shim->pod_id, NULL);
        syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
        int result = task_wait_fd(fd, EPOLLIN, clock_after(KILL_TIME), NULL);
        return result < 0 ? error_errno(err, result, "the shim, process %d, does not end",
                                        (int)shim->pid)
                          : 0;
}

bool shim_answers(const char *pod_id, int64_t deadline)
{
        AUTO_SHIM struct shim *shim = shim_of_pod(pod_id);
        Containerd__Task__V2__ConnectRequest request = CONTAINERD__TASK__V2__CONNECT_REQUEST__INIT;
        struct error err;
        if (!shim)
                return false;
        request.id = shim->pod_id;
        return shim_ask(shim, "Connect", &request.base, NULL, deadline, NULL, &err) == 0 ||
               (!shim_is_gone(&err) && err.code != ERROR_DEADLINE_EXCEEDED);
}

void shim_kill(const char *pod_id)
{
        AUTO_SHIM struct shim *shim = shim_of_pod(pod_id);
        if (!shim || shim_record_read(shim, NULL) < 0 || shim->pid <= 0)
                return;
        AUTO_FD int fd = process_open(shim->pid, shim->start_time);
        if (fd >= 0)
                syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
}

/* One that was killed leaves its socket. */
static void remove_socket(const struct shim *shim)
{
        const char *address = shim->bootstrap.address;
        if (address && strncmp(address, "unix:///", 8) == 0)
                unlink(address + strlen("unix://"));
}

static int stop(struct shim *shim, int64_t deadline, struct error *err)
{
        AUTO_FREE char *bundle = shim_bundle(shim);
        struct error why;
        int result = shim_record_read(shim, &why);
        if (result == -ENOENT)
                return 0;
        if (result == 0)
                result = shim_connect_client(shim, deadline, &why);
        bool alive = result == 0;
        if (alive && shim->sandboxed && (result = shim_sandbox_end(shim, deadline, &why)) < 0)
                log_failure(&why, "a shim does not delete its sandbox", "pod", shim->pod_id, NULL);
        if (alive && (!shim->sandbox_api || result < 0))
                shut_down(shim, deadline);
        int ended = end_process(shim, err);
        if (ended < 0)
                return ended;
        /* What it had no time to clean up. */
        if (shim->sandboxed && (!alive || result < 0) &&
            shim_delete_dead(shim->handler, shim->pod_id, bundle, clock_after(CLEANUP_TIME), &why) <
                    0)
                log_failure(&why, "cleaning up after a dead shim", "pod", shim->pod_id, NULL);
        remove_socket(shim);
        return 0;
}

int shim_stop(const char *pod_id, int64_t deadline, struct error *err)
{
        AUTO_SHIM struct shim *shim = shim_of_pod(pod_id);
        if (!shim)
                return 0;
        shim->stopping = true;
        int result = stop(shim, deadline, err);
        if (result < 0)
                return error_context(err, "end the pod's shim");
        if (table_get(shims.pods, pod_id) == shim) {
                table_remove(shims.pods, pod_id);
                shim_unref(shim);
        }
        return 0;
}
