/* Exec: a command in a container, whose streams are the client's. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/task.h"
#include "cri/container.h"
#include "cri/streaming.h"
#include "cri/tuning.h"
#include "oci/exec_session.h"

/* From the call to the end of its session. */
struct exec {
        struct container *container; /* counted */
        char **command;
        bool tty;
        struct exec_session *session; /* once it runs */
};

static void exec_free(struct exec *exec)
{
        exec_session_free(exec->session);
        container_unref(exec->container);
        strv_free(exec->command);
        free(exec);
}

static int open_exec(void *exec_, struct stream_ends *ends, struct error *err)
{
        struct exec *exec = exec_;
        struct container *container = exec->container;
        struct exec_ends made;
        int result = container_require_exec(container, err);
        if (result < 0)
                return result;
        AUTO_FREE char *directory = container_run_path(container, "");
        AUTO_FREE char *bundle = container_state_path(container, "bundle");
        struct exec_options options = {
                .handler = container->pod->handler,
                .cgroups = &node.cgroups,
                .id = container->id,
                .cgroup_path = container->cgroup_path,
                .run_dir = directory,
                .bundle = bundle,
                .command = exec->command,
                .terminal = exec->tty,
                .helper = node.exec_program,
                .deadline = clock_after(container_runtime_patience(container)),
        };
        struct cpu_list first;
        if (tuning_exec_processor(container, &first))
                options.processors = &first;
        bool interruptible = task_set_interruptible(true);
        result = exec_session_start(&options, &exec->session, &made, err);
        task_set_interruptible(interruptible);
        if (result < 0)
                return error_context(err, "container %s", container->id);
        *ends = (struct stream_ends){made.input, made.output, made.errors};
        return 0;
}

/* A client that goes away takes its command along: nobody would end it otherwise. */
static int wait_exec(void *exec_, int *exit_code, struct error *err)
{
        struct exec *exec = exec_;
        bool interruptible = task_set_interruptible(true);
        int result = exec_session_wait(exec->session, exit_code, err);
        task_set_interruptible(interruptible);
        return result;
}

static void resize_exec(void *exec_, uint16_t rows, uint16_t columns)
{
        struct exec *exec = exec_;
        exec_session_resize(exec->session, rows, columns);
}

static void close_exec(void *exec)
{
        exec_free(exec);
}

static const struct stream_backend backend = {
        .open = open_exec,
        .resize = resize_exec,
        .wait = wait_exec,
        .close = close_exec,
};

int container_require_exec(const struct container *container, struct error *err)
{
        int result = container_require_running(container, err);
        if (result == 0 && !container->pod->handler)
                result = error_set(err, ERROR_FAILED_PRECONDITION,
                                   "container %s: its pod's runtime handler \"%s\" is not "
                                   "configured any more",
                                   container->id, container->pod->request->runtime_handler);
        return result;
}

int container_exec_handler(struct rpc *rpc, const void *request_, void *response_,
                           struct error *err)
{
        const Runtime__V1__ExecRequest *request = request_;
        Runtime__V1__ExecResponse *response = response_;
        AUTO_CONTAINER struct container *container = NULL;
        int result = streaming_check(request->tty, request->stdin, request->stdout, request->stderr,
                                     err);
        if (result == 0 && !request->n_cmd)
                result = error_set(err, ERROR_INVALID_ARGUMENT, "cmd: it must not be empty");
        if (result == 0)
                result = container_find(request->container_id, &container, err);
        if (result == 0)
                result = container_require_exec(container, err);
        if (result < 0)
                return error_context(err, "exec");
        struct exec *exec = xcalloc(1, sizeof *exec);
        exec->container = container_ref(container);
        exec->tty = request->tty;
        for (size_t i = 0; i < request->n_cmd; i++)
                strv_push(&exec->command, request->cmd[i]);
        const struct stream_offer offer = {
                .kind = STREAM_EXEC,
                .tty = request->tty,
                .want_input = request->stdin,
                .want_output = request->stdout,
                .want_errors = request->stderr,
                .name = container->id,
                .backend = &backend,
                .session = exec,
        };
        result = streaming_offer(&offer, rpc, &response->url, err);
        if (result < 0)
                exec_free(exec);
        return result < 0 ? error_context(err, "exec") : 0;
}
