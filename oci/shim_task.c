/* A shim's containers: what every runtime does (oci/runtime.h), asked over ttrpc. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/process.h"
#include "oci/exec.h"
#include "oci/runtime_private.h"
#include "oci/shim_connection.h"
#include "api/shim/task_v2.pb-c.h"

#define PROBE_ERRORS_MAX 4096
#define SPEC_TYPE        "types.containerd.io/opencontainers/runtime-spec/1/"

/* The shim of a container that cri told us of. */
static int find(const struct runtime_handler *handler, const char *id, struct shim **shim,
                const struct shim_task **task, struct error *err)
{
        *shim = shim_of_task(id, task);
        if (*shim)
                return 0;
        return error_set(err, ERROR_UNAVAILABLE, "%s: the shim of container %s is not known",
                         handler->name, id);
}

/* A call whose request has nothing but the container's id in it, or of which nobody wants the
 * answer. */
static int ask(const struct runtime_handler *handler, const char *id, const char *method,
               const ProtobufCMessage *request, int64_t deadline, struct error *err)
{
        AUTO_SHIM struct shim *shim = NULL;
        const struct shim_task *task;
        int result = find(handler, id, &shim, &task, err);
        return result < 0 ? result : shim_ask(shim, method, request, NULL, deadline, NULL, err);
}

static bool drives_runtime(const struct runtime_handler *handler)
{
        return runtime_is_shim_of_runc(handler) && handler->shim_runtime &&
               *handler->shim_runtime == '/';
}

/* ---- creating ---- */

static int write_request(const struct shim *shim, const char *path, uint32_t stream,
                         const char *method, const ProtobufCMessage *request, struct error *err)
{
        AUTO_BUFFER struct buffer frame = BUFFER_INIT;
        ttrpc_request_frame(stream, shim_service(shim), method, request, 0, &frame);
        return file_replace_volatile(path, frame.data, frame.length, 0600, err);
}

/* The requests that the monitor sends, as files; written on the loop's thread, for it is a tmpfs.
 */
static int write_requests(const struct shim *shim, const struct runtime_create *create,
                          const Containerd__Task__V2__CreateTaskRequest *request, struct error *err)
{
        Containerd__Task__V2__WaitRequest wait = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        Containerd__Task__V2__CloseIORequest close = CONTAINERD__TASK__V2__CLOSE_IOREQUEST__INIT;
        wait.id = close.id = request->id;
        close.stdin = true;
        int result = write_request(shim, create->shim_create, 1, "Create", &request->base, err);
        if (result == 0)
                result = write_request(shim, create->shim_wait, 3, "Wait", &wait.base, err);
        if (result == 0)
                result = write_request(shim, create->shim_close, 5, "CloseIO", &close.base, err);
        return result;
}

/* The program's `delete` looks for a bundle of the container's name beside the folder that it is
 * run in. */
static int link_bundle(const char *bundle, const char *id, struct error *err)
{
        AUTO_FREE char *folder = xstrdup(bundle);
        char *name = strrchr(folder, '/');
        *name++ = '\0';
        if (strcmp(name, id) == 0)
                return 0;
        AUTO_FREE char *path = xprintf("%s/%s", folder, id);
        if (symlink(name, path) < 0 && errno != EEXIST)
                return error_errno(err, errno, "link %s", path);
        return 0;
}

static int prepare_create(const struct runtime_handler *handler, struct runtime_create *create,
                          int64_t deadline, struct error *err)
{
        AUTO_SHIM struct shim *shim = NULL;
        const struct shim_task *task;
        int result = find(handler, create->id, &shim, &task, err);
        /* Now, so that a dead one is told in words. */
        if (result == 0)
                result = shim_connect_client(shim, deadline, err);
        if (result == 0)
                result = link_bundle(create->bundle, create->id, err);
        if (result < 0)
                return result;
        Containerd__Task__V2__CreateTaskRequest request =
                CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
        Google__Protobuf__Any options = GOOGLE__PROTOBUF__ANY__INIT;
        AUTO_FREE char *input = xprintf("%s/stdin", create->folder);
        AUTO_FREE char *output = xprintf("%s/stdout", create->folder);
        AUTO_FREE char *errors = xprintf("%s/stderr", create->folder);
        create->shim_create = xprintf("%s/create.ttrpc", create->folder);
        create->shim_wait = xprintf("%s/wait.ttrpc", create->folder);
        create->shim_close = xprintf("%s/close.ttrpc", create->folder);
        create->shim = xstrdup(shim->bootstrap.address);
        request.id = (char *)create->id;
        request.bundle = (char *)create->bundle;
        request.terminal = create->terminal;
        request.stdin = create->stdin_open ? input : (char *)"";
        request.stdout = output;
        request.stderr = create->terminal ? (char *)"" : errors;
        if (shim_options(handler, &options))
                request.options = &options;
        result = write_requests(shim, create, &request, err);
        if (request.options)
                free(options.value.data);
        return result;
}

/* ---- what is asked of a task ---- */

static int start(const struct runtime_handler *handler, const char *id, int64_t deadline,
                 struct error *err)
{
        Containerd__Task__V2__StartRequest request = CONTAINERD__TASK__V2__START_REQUEST__INIT;
        request.id = (char *)id;
        return ask(handler, id, "Start", &request.base, deadline, err);
}

static int kill_task(struct shim *shim, const char *id, const char *exec_id, int signal, bool all,
                     int64_t deadline, struct error *err)
{
        Containerd__Task__V2__KillRequest request = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
        struct error why;
        request.id = (char *)id;
        request.exec_id = (char *)exec_id;
        request.signal = (uint32_t)signal;
        request.all = all;
        int result = shim_ask(shim, "Kill", &request.base, NULL, deadline, NULL, &why);
        /* Not there, or it has ended already. */
        if (result == 0 || why.code == ERROR_NOT_FOUND || runtime_says_not_running(why.message))
                return 0;
        if (err)
                *err = why;
        return result;
}

static int kill_all(const struct runtime_handler *handler, const char *id, int signal, bool all,
                    int64_t deadline, struct error *err)
{
        AUTO_SHIM struct shim *shim = NULL;
        const struct shim_task *task;
        int result = find(handler, id, &shim, &task, err);
        return result < 0 ? result : kill_task(shim, id, "", signal, all, deadline, err);
}

static int wait_task(struct shim *shim, const char *id, int64_t deadline, struct error *err)
{
        Containerd__Task__V2__WaitRequest request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        request.id = (char *)id;
        return shim_ask(shim, "Wait", &request.base, NULL, deadline, NULL, err);
}

int shim_delete_task(struct shim *shim, const char *id, int64_t deadline, struct error *err)
{
        Containerd__Task__V2__DeleteRequest request = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
        request.id = (char *)id;
        struct error why;
        int result = shim_ask(shim, "Delete", &request.base, NULL, deadline, NULL, &why);
        if (result < 0 && why.code != ERROR_NOT_FOUND && !shim_is_gone(&why)) {
                /* It runs. */
                result = kill_task(shim, id, "", SIGKILL, true, deadline, &why);
                if (result == 0)
                        result = wait_task(shim, id, deadline, &why);
                if (result == 0)
                        result =
                                shim_ask(shim, "Delete", &request.base, NULL, deadline, NULL, &why);
        }
        if (result == 0 || why.code == ERROR_NOT_FOUND)
                return 0;
        if (err)
                *err = why;
        return result;
}

int shim_delete_dead(const struct runtime_handler *handler, const char *id, const char *bundle,
                     int64_t deadline, struct error *err)
{
        const struct shim_run run = {.handler = handler,
                                     .id = id,
                                     .bundle = bundle,
                                     .action = "delete",
                                     .cgroup_fd = -1};
        return access(bundle, F_OK) < 0 ? 0 : shim_run(&run, deadline, NULL, err);
}

/* Its shim goes with its pod; what runc's shim had runc do, runc undoes. */
static int delete_orphan(const struct runtime_handler *handler, const char *id, int64_t deadline,
                         struct error *err)
{
        AUTO_FREE char *root = xprintf("%s/" SHIM_NAMESPACE, handler->root);
        struct runtime_handler driven;
        if (!drives_runtime(handler))
                return 0;
        runtime_handler_init(&driven, handler->name, handler->shim_runtime, root, RUNTIME_KIND_OCI,
                             handler->systemd_cgroup);
        int result = runtime_delete(&driven, id, true, deadline, err);
        runtime_handler_fini(&driven);
        return result;
}

static int delete_task(const struct runtime_handler *handler, const char *id, bool force,
                       int64_t deadline, struct error *err)
{
        AUTO_SHIM struct shim *shim = NULL;
        const struct shim_task *task;
        struct error why;
        (void)force; /* nobody deletes what runs and wants it to go on */
        int result = find(handler, id, &shim, &task, NULL);
        if (result < 0)
                return delete_orphan(handler, id, deadline, err);
        AUTO_FREE char *bundle = xstrdup(task->bundle);
        result = shim_delete_task(shim, id, deadline, &why);
        if (result < 0 && shim_is_gone(&why))
                result = shim_delete_dead(handler, id, bundle, deadline, &why);
        /* A shim that was killed, or that gave up a creation, leaves what its runtime keeps. */
        AUTO_FREE char *left = xprintf("%s/" SHIM_NAMESPACE "/%s", handler->root, id);
        if (result == 0 && access(left, F_OK) == 0)
                result = delete_orphan(handler, id, deadline, &why);
        if (result < 0 && err)
                *err = why;
        return result;
}

static int pause_task(const struct runtime_handler *handler, const char *id, int64_t deadline,
                      struct error *err)
{
        Containerd__Task__V2__PauseRequest request = CONTAINERD__TASK__V2__PAUSE_REQUEST__INIT;
        request.id = (char *)id;
        return ask(handler, id, "Pause", &request.base, deadline, err);
}

static int resume_task(const struct runtime_handler *handler, const char *id, int64_t deadline,
                       struct error *err)
{
        Containerd__Task__V2__ResumeRequest request = CONTAINERD__TASK__V2__RESUME_REQUEST__INIT;
        request.id = (char *)id;
        return ask(handler, id, "Resume", &request.base, deadline, err);
}

static int update(const struct runtime_handler *handler, const char *id, const char *resources,
                  int64_t deadline, struct error *err)
{
        Containerd__Task__V2__UpdateTaskRequest request =
                CONTAINERD__TASK__V2__UPDATE_TASK_REQUEST__INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        any.type_url = (char *)SPEC_TYPE "LinuxResources";
        any.value.data = (uint8_t *)resources;
        any.value.len = strlen(resources);
        request.id = (char *)id;
        request.resources = &any;
        return ask(handler, id, "Update", &request.base, deadline, err);
}

static enum runtime_status status_of(Containerd__V1__Types__Status status)
{
        switch (status) {
        case CONTAINERD__V1__TYPES__STATUS__CREATED:
                return RUNTIME_STATUS_CREATED;
        case CONTAINERD__V1__TYPES__STATUS__RUNNING:
                return RUNTIME_STATUS_RUNNING;
        case CONTAINERD__V1__TYPES__STATUS__STOPPED:
                return RUNTIME_STATUS_STOPPED;
        case CONTAINERD__V1__TYPES__STATUS__PAUSED:
        case CONTAINERD__V1__TYPES__STATUS__PAUSING:
                return RUNTIME_STATUS_PAUSED;
        default:
                return RUNTIME_STATUS_UNKNOWN;
        }
}

static int state(const struct runtime_handler *handler, const char *id, int64_t deadline,
                 struct runtime_state *result, struct error *err)
{
        AUTO_SHIM struct shim *shim = NULL;
        const struct shim_task *task;
        Containerd__Task__V2__StateRequest request = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
        ProtobufCMessage *answer = NULL;
        request.id = (char *)id;
        int status = find(handler, id, &shim, &task, err);
        if (status == 0)
                status = shim_ask(shim, "State", &request.base,
                                  &containerd__task__v2__state_response__descriptor, deadline,
                                  &answer, err);
        if (status < 0)
                return status;
        const Containerd__Task__V2__StateResponse *found = (const void *)answer;
        result->status = status_of(found->status);
        result->pid = result->status == RUNTIME_STATUS_STOPPED ? 0 : (pid_t)found->pid;
        protobuf_c_message_free_unpacked(answer, NULL);
        return 0;
}

/* exec_id is of a command in it; "" is the container itself. */
static int size_terminal(const struct runtime_handler *handler, const char *id, const char *exec_id,
                         uint16_t rows, uint16_t columns, int64_t deadline, struct error *err)
{
        Containerd__Task__V2__ResizePtyRequest request =
                CONTAINERD__TASK__V2__RESIZE_PTY_REQUEST__INIT;
        request.id = (char *)id;
        request.exec_id = (char *)exec_id;
        request.height = rows;
        request.width = columns;
        return ask(handler, id, "ResizePty", &request.base, deadline, err);
}

static int resize(const struct runtime_handler *handler, const char *id, uint16_t rows,
                  uint16_t columns, int64_t deadline, struct error *err)
{
        return size_terminal(handler, id, "", rows, columns, deadline, err);
}

/* ---- commands in a container ---- */

/* crisp-exec speaks to the shim itself, so that a command is a process of ours like any other. */
static char **make_exec_argv(const struct runtime_handler *handler, const char *id,
                             const struct exec_words *words)
{
        const struct shim_task *task;
        AUTO_SHIM struct shim *shim = shim_of_task(id, &task);
        bool known = shim && shim_record_read(shim, NULL) == 0 && shim->bootstrap.address;
        const char *const arguments[] = {
                words->helper,
                "--shim",
                known ? shim->bootstrap.address : "",
                known ? shim_service(shim) : "",
                id,
                words->exec_id,
                words->process_file,
                words->pid_file,
                words->log,
                words->console_socket ? words->console_socket : "",
        };
        char **argv = NULL;
        (void)handler;
        for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++)
                strv_push(&argv, arguments[i]);
        return argv;
}

static void exec_kill(const struct runtime_handler *handler, const char *id, const char *exec_id,
                      int64_t deadline)
{
        AUTO_SHIM struct shim *shim = NULL;
        const struct shim_task *task;
        if (find(handler, id, &shim, &task, NULL) == 0)
                kill_task(shim, id, exec_id, SIGKILL, false, deadline, NULL);
}

static void exec_resize(const struct runtime_handler *handler, const char *id, const char *exec_id,
                        uint16_t rows, uint16_t columns, int64_t deadline)
{
        size_terminal(handler, id, exec_id, rows, columns, deadline, NULL);
}

/* ---- what it is ---- */

static int find_version(struct runtime_handler *handler, int64_t deadline, struct error *err)
{
        char flag[] = "-v", *argv[] = {handler->path, flag, NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        struct process_run run = {.output_max = SHIM_ANSWER_BYTES_MAX,
                                  .errors_max = PROBE_ERRORS_MAX,
                                  .deadline = deadline};
        options.path = handler->path;
        options.argv = argv;
        options.environment = runtime_environment();
        int result = process_run(&options, &run, err);
        if (result == 0)
                result = process_check(&run, handler->path, err);
        if (result == 0 && run.output.data) {
                const char *line = strstr(run.output.data, "Version:");
                const char *text =
                        line ? line + strlen("Version:") + strspn(line + strlen("Version:"), " ")
                             : run.output.data;
                const char *slash = strrchr(handler->path, '/');
                free(handler->version);
                handler->version =
                        line ? xprintf("%s version %.*s", slash ? slash + 1 : handler->path,
                                       (int)strcspn(text, "\n"), text)
                             : xstrndup(text, strcspn(text, "\n"));
        }
        process_run_fini(&run);
        return result;
}

/* runc's shim can what its runtime can. */
static void take_features(struct runtime_handler *handler, int64_t deadline)
{
        struct runtime_handler driven;
        if (!drives_runtime(handler))
                return;
        runtime_handler_init(&driven, handler->name, handler->shim_runtime, handler->root,
                             RUNTIME_KIND_OCI, handler->systemd_cgroup);
        if (runtime_probe(&driven, deadline, NULL) == 0) {
                handler->recursive_read_only = driven.recursive_read_only;
                handler->idmapped_mounts = driven.idmapped_mounts;
                handler->user_namespaces = driven.user_namespaces;
                free(handler->spec_version);
                handler->spec_version = take_ptr(driven.spec_version);
        }
        runtime_handler_fini(&driven);
}

static int probe(struct runtime_handler *handler, int64_t deadline, struct error *err)
{
        int result = find_version(handler, deadline, err);
        handler->commands[RUNTIME_COMMAND_PAUSE] = handler->commands[RUNTIME_COMMAND_RESUME] =
                handler->commands[RUNTIME_COMMAND_UPDATE] = result == 0;
        if (result == 0)
                take_features(handler, deadline);
        return result;
}

const struct runtime_operations runtime_shim_operations = {
        .probe = probe,
        .prepare_create = prepare_create,
        .start = start,
        .kill = kill_all,
        .delete = delete_task,
        .pause = pause_task,
        .resume = resume_task,
        .update = update,
        .state = state,
        .resize = resize,
        .exec_argv = make_exec_argv,
        .exec_kill = exec_kill,
        .exec_resize = exec_resize,
};
