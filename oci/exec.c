#include "oci/exec.h"

#include <errno.h>
#include <sys/wait.h>

#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "oci/exec_private.h"
#include "oci/runtime_private.h"

/* Cuts the two to EXEC_OUTPUT_MAX together: each keeps at least half of it, and what the other
 * leaves. */
static void bound_output(struct exec_result *result)
{
        const size_t half = EXEC_OUTPUT_MAX / 2;
        struct buffer *output = &result->output, *errors = &result->errors;
        if (output->length + errors->length <= EXEC_OUTPUT_MAX)
                return;
        if (errors->length > half)
                errors->length = output->length < half ? EXEC_OUTPUT_MAX - output->length : half;
        if (output->length > EXEC_OUTPUT_MAX - errors->length)
                output->length = EXEC_OUTPUT_MAX - errors->length;
        output->data[output->length] = '\0';
        errors->data[errors->length] = '\0';
        result->cut = true;
}

static int start_and_wait(struct exec_run *run, struct process_run *process, bool interruptible,
                          struct error *err)
{
        const struct exec_options *options = run->options;
        const char *tasks[] = {run->child.cpuset_tasks, NULL};
        char **argv = exec_run_argv(run);
        struct process_options start = PROCESS_OPTIONS_INIT;
        start.path = argv[0];
        start.argv = argv;
        start.environment = runtime_environment();
        start.processors = (const cpu_set_t *)options->processors;
        start.processors_size = sizeof *options->processors;
        if (run->child.cpuset_tasks)
                start.cgroup_v1_tasks = tasks;
        process->output_max = EXEC_OUTPUT_MAX;
        process->errors_max = EXEC_OUTPUT_MAX;
        process->deadline = options->deadline;
        process->interruptible = interruptible;
        process->on_kill = exec_run_kill;
        process->on_kill_argument = run;
        int result = process_run(&start, process, err);
        strv_free(argv);
        return result;
}

/* What came of a run that was not killed. */
static int judge(const struct exec_run *run, const struct process_run *process,
                 struct exec_result *result, struct error *err)
{
        if (WIFSIGNALED(process->status))
                return error_set(err, ERROR_INTERNAL, "%s exec: killed by signal %d",
                                 run->options->handler->name, WTERMSIG(process->status));
        if (!run->started)
                return runtime_fail(run->options->handler, "exec", run->message, err);
        result->exit_code = WEXITSTATUS(process->status);
        return 0;
}

/* The run itself, from its cgroup to the last of its processes. */
static int run_whole(struct exec_run *run, struct process_run *process, bool interruptible,
                     struct error *err)
{
        struct error after = {0};
        int status = task_offload(exec_run_prepare, run);
        if (status < 0)
                return error_context(err, "exec");
        status = start_and_wait(run, process, interruptible, err);
        run->err = &after;
        run->errors = &process->errors;
        run->kill = status < 0 || WIFSIGNALED(process->status);
        int left = task_offload(exec_run_finish, run);
        if (status == -ETIMEDOUT || status == -ECANCELED)
                error_set(err, status == -ETIMEDOUT ? ERROR_DEADLINE_EXCEEDED : ERROR_CANCELLED,
                          "command \"%.100s\": %s, and killed%s%s", run->options->command[0],
                          status == -ETIMEDOUT ? "not done in time" : "cancelled",
                          left < 0 ? "; but " : "", left < 0 ? after.message : "");
        return status;
}

int exec_sync(const struct exec_options *options, struct exec_result *result, struct error *err)
{
        int status = runtime_check(options->handler, err);
        if (status < 0)
                return status;
        struct exec_run run;
        struct process_run process = {0};
        exec_run_init(&run, options, err);
        bool interruptible = task_set_interruptible(false);
        status = run_whole(&run, &process, interruptible, err);
        task_set_interruptible(interruptible);
        struct exec_result found = {.output = process.output,
                                    .errors = process.errors,
                                    .cut = process.output_cut || process.errors_cut};
        if (status == 0)
                status = judge(&run, &process, &found, err);
        if (status == 0) {
                bound_output(&found);
                *result = found;
        } else {
                process_run_fini(&process);
        }
        exec_run_fini(&run);
        return status;
}

void exec_result_fini(struct exec_result *result)
{
        buffer_fini(&result->output);
        buffer_fini(&result->errors);
}
