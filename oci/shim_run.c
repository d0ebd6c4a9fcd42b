/* The shim's program: what is run to start a shim, and to clean up after a dead one. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/process.h"
#include "oci/shim_private.h"

#define ERRORS_MAX 4096

static void cleanup_strv(char ***vector)
{
        strv_free(*vector);
}

static void cleanup_run(struct process_run *run)
{
        process_run_fini(run);
}

static void push(char ***vector, const char *name, const char *value)
{
        strv_push(vector, name);
        strv_push(vector, value);
}

/* As containerd gives them: shims read some from their arguments and others from the environment.
 */
static char **make_environment(void)
{
        char **environment = strv_dup(runtime_environment());
        AUTO_FREE char *events = xprintf("TTRPC_ADDRESS=%s", shims.events);
        AUTO_FREE char *address = xprintf("GRPC_ADDRESS=%s", shims.address);
        strv_push(&environment, "GOMAXPROCS=2");
        strv_push(&environment, "MAX_SHIM_VERSION=3");
        strv_push(&environment, "NAMESPACE=" SHIM_NAMESPACE);
        strv_push(&environment, events);
        strv_push(&environment, address);
        return environment;
}

/* What shims older than those with TTRPC_ADDRESS would publish events with. We take them over ttrpc
 * alone. */
static char **make_arguments(const struct shim_run *run)
{
        char **arguments = NULL;
        strv_push(&arguments, run->handler->path);
        push(&arguments, "-namespace", SHIM_NAMESPACE);
        push(&arguments, "-address", shims.address);
        push(&arguments, "-publish-binary", "/bin/false");
        push(&arguments, "-id", run->id);
        if (strcmp(run->action, "delete") == 0)
                push(&arguments, "-bundle", run->bundle);
        strv_push(&arguments, run->action);
        return arguments;
}

static int judge(const struct shim_run *run, const struct process_run *process, struct error *err)
{
        if (WIFEXITED(process->status) && WEXITSTATUS(process->status) == 0)
                return 0;
        /* runc's tells its errors on stdout's place beside it: what it says last is the reason. */
        AUTO_FREE char *why = runtime_failure(NULL, process->errors.data, process->errors.length);
        if (!*why && WIFSIGNALED(process->status))
                return error_set(err, ERROR_UNKNOWN, "%s %s: killed by signal %d",
                                 run->handler->name, run->action, WTERMSIG(process->status));
        return error_set(err, ERROR_UNKNOWN, "%s %s: %s", run->handler->name, run->action,
                         *why ? why : "it failed and said nothing");
}

int shim_run(const struct shim_run *run, int64_t deadline, struct buffer *output, struct error *err)
{
        CLEANUP(cleanup_strv) char **arguments = make_arguments(run);
        CLEANUP(cleanup_strv) char **environment = make_environment();
        CLEANUP(cleanup_run) struct process_run process = {0};
        AUTO_BUFFER struct buffer input = BUFFER_INIT;
        Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
        struct process_options options = PROCESS_OPTIONS_INIT;
        int result = runtime_check(run->handler, err);
        if (result < 0)
                return result;
        if (strcmp(run->action, "start") == 0 && shim_options(run->handler, &any)) {
                size_t size = google__protobuf__any__get_packed_size(&any);
                input.length =
                        google__protobuf__any__pack(&any, (uint8_t *)buffer_reserve(&input, size));
                free(any.value.data);
                process.input = input.data;
                process.input_length = input.length;
        }
        options.path = run->handler->path;
        options.argv = arguments;
        options.environment = environment;
        options.directory = run->bundle;
        options.cgroup_fd = run->cgroup_fd;
        options.cgroup_v1_tasks = run->cgroup_v1_tasks;
        process.output_max = SHIM_ANSWER_BYTES_MAX;
        process.errors_max = ERRORS_MAX;
        process.deadline = deadline;
        result = process_run(&options, &process, err);
        if (result < 0)
                return error_context(err, "%s %s", run->handler->name, run->action);
        result = judge(run, &process, err);
        if (result == 0 && output)
                buffer_add(output, process.output.data ? process.output.data : "",
                           process.output.length);
        return result;
}
