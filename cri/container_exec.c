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
        if (exec->session)
                exec->container->sessions--;
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
        container->sessions++;
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

static void *make_exec(struct container *container, const void *request_)
{
        const Runtime__V1__ExecRequest *request = request_;
        struct exec *exec = xcalloc(1, sizeof *exec);
        exec->container = container_ref(container);
        exec->tty = request->tty;
        for (size_t i = 0; i < request->n_cmd; i++)
                strv_push(&exec->command, request->cmd[i]);
        return exec;
}

int container_exec_handler(struct rpc *rpc, const void *request_, void *response_,
                           struct error *err)
{
        static const struct streaming_call call = {STREAM_EXEC, "exec", container_require_exec,
                                                   make_exec, &backend};
        const Runtime__V1__ExecRequest *request = request_;
        Runtime__V1__ExecResponse *response = response_;
        const struct streaming_wish wish = {request->container_id, request->tty, request->stdin,
                                            request->stdout, request->stderr};
        if (!request->n_cmd)
                return error_set(err, ERROR_INVALID_ARGUMENT, "exec: cmd: it must not be empty");
        return streaming_offer_container(&call, &wish, request, rpc, &response->url, err);
}
