/* ExecSync and ReopenContainerLog: what is asked of a running container. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/id.h"
#include "base/memory.h"
#include "cri/tuning.h"
#include "oci/exec.h"

#define REOPEN_DEADLINE (10 * NSEC_PER_SEC)

/* What the kubelet takes must also have room for the message around it. */
static void fill_response(struct rpc *rpc, const struct exec_result *result,
                          Runtime__V1__ExecSyncResponse *response)
{
        response->stdout.data =
                arena_memdup(rpc->arena, result->output.data, result->output.length);
        response->stdout.len = result->output.length;
        response->stderr.data =
                arena_memdup(rpc->arena, result->errors.data, result->errors.length);
        response->stderr.len = result->errors.length;
        response->exit_code = result->exit_code;
}

int container_exec_sync_handler(struct rpc *rpc, const void *request_, void *response,
                                struct error *err)
{
        const Runtime__V1__ExecSyncRequest *request = request_;
        AUTO_CONTAINER struct container *container = NULL;
        if (!request->n_cmd)
                return error_set(err, ERROR_INVALID_ARGUMENT, "cmd: it must not be empty");
        if (request->timeout < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "timeout: it must not be negative");
        int result = container_find(request->container_id, &container, err);
        if (result == 0)
                result = container_require_exec(container, err);
        if (result < 0)
                return error_context(err, "exec");
        AUTO_FREE char *directory = container_run_path(container, "");
        AUTO_FREE char *bundle = container_state_path(container, "bundle");
        char **command = arena_array(rpc->arena, request->n_cmd + 1, sizeof *command);
        for (size_t i = 0; i < request->n_cmd; i++)
                command[i] = request->cmd[i];
        struct exec_options options = {
                .handler = container->pod->handler,
                .cgroups = &node.cgroups,
                .id = container->id,
                .cgroup_path = container->cgroup_path,
                .run_dir = directory,
                .bundle = bundle,
                .command = command,
                .helper = node.exec_program,
                .deadline = request->timeout && request->timeout < INT64_MAX / NSEC_PER_SEC
                                    ? clock_after(request->timeout * NSEC_PER_SEC)
                                    : CLOCK_NEVER,
        };
        struct cpu_list first;
        if (tuning_exec_processor(container, &first))
                options.processors = &first;
        struct exec_result done = {0};
        result = exec_sync(&options, &done, err);
        if (result == 0)
                fill_response(rpc, &done, response);
        else
                error_context(err, "exec in container %s", container->id);
        exec_result_fini(&done);
        return result;
}

int container_reopen_log_handler(struct rpc *rpc, const void *request_, void *response,
                                 struct error *err)
{
        const Runtime__V1__ReopenContainerLogRequest *request = request_;
        AUTO_CONTAINER struct container *container = NULL;
        (void)rpc;
        (void)response;
        int result = container_find(request->container_id, &container, err);
        if (result == 0)
                result = container_require_running(container, err);
        if (result == 0)
                result = monitor_reopen_log(container->monitor, clock_after(REOPEN_DEADLINE), err);
        return result < 0 ? error_context(err, "reopen log") : 0;
}
