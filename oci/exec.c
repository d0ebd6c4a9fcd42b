#include "oci/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "oci/cgroup_private.h"
#include "oci/runtime_private.h"
#include "oci/spec.h"

#define NAME_DIGITS 16
#define NAME_PREFIX "crisp-exec-"
#define MARK        "CRISP_EXEC" /* an environment variable: see kill_marked */
#define MARK_ROUNDS 10
#define ENVIRON_MAX (2 * 1024 * 1024) /* bytes of /proc/PID/environ */

char **exec_argv(const struct runtime_handler *handler, const char *id,
                 const struct exec_words *words)
{
        char **argv = runtime_base_argv(handler, words->log);
        strv_push(&argv, "exec");
        if (words->detach)
                strv_push(&argv, "--detach");
        if (words->pid_file) {
                strv_push(&argv, "--pid-file");
                strv_push(&argv, words->pid_file);
        }
        if (words->console_socket) {
                strv_push(&argv, "--tty");
                strv_push(&argv, "--console-socket");
                strv_push(&argv, words->console_socket);
        }
        if (words->sub_cgroup) {
                strv_push(&argv, "--cgroup");
                strv_push(&argv, words->sub_cgroup);
        }
        strv_push(&argv, "--process");
        strv_push(&argv, words->process_file);
        strv_push(&argv, id);
        return argv;
}

/* The container's own process with another command; new reference, or null for a config.json that
 * is not ours. */
static json_t *process_of(const json_t *spec, char *const *command, bool terminal,
                          const char *variable)
{
        json_t *process = json_object_get(spec, "process");
        json_t *args = json_array();
        for (; *command; command++)
                json_array_append_new(args, json_string(*command));
        json_object_set_new(process, "args", args);
        json_object_set_new(process, "terminal", json_boolean(terminal));
        if (variable)
                json_array_append_new(json_object_get(process, "env"), json_string(variable));
        return json_incref(process);
}

int exec_process_write(const char *bundle, char *const *command, bool terminal,
                       const char *variable, const char *path, struct error *err)
{
        AUTO_FREE char *config = xprintf("%s/config.json", bundle);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *spec = NULL;
        for (char *const *word = command; *word; word++) {
                json_t *valid = json_string(*word);
                json_decref(valid);
                if (!valid)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "command: not UTF-8");
        }
        int result = file_read(config, SPEC_FILE_MAX, &text, err);
        if (result == 0)
                result = json_parse(text.data ? text.data : "", text.length, config, &spec, err);
        if (result < 0)
                return result;
        AUTO_JSON json_t *process = process_of(spec, command, terminal, variable);
        if (!process)
                return error_set(err, ERROR_INTERNAL, "%s: it has no process", config);
        AUTO_FREE char *written = json_text(process);
        return file_replace_volatile(path, written, strlen(written), 0600, err);
}

/* One command under way. */
struct run {
        const struct exec_options *options;
        char name[sizeof NAME_PREFIX + NAME_DIGITS];
        char *cgroup; /* its own, below the container's; null where the runtime cannot use one */
        struct cgroup_child child;
        char *sub_cgroup; /* as --cgroup wants it */
        char *log;
        char *pid_file;
        char *process_file;
        bool kill;                   /* all that it started is to die */
        bool started;                /* the pid file is there: the command itself ran */
        char *message;               /* why it did not */
        const struct buffer *errors; /* what came on stderr */
        struct error *err;
};

static void run_fini(struct run *run)
{
        free(run->cgroup);
        free(run->child.cpuset_tasks);
        free(run->sub_cgroup);
        free(run->log);
        free(run->pid_file);
        free(run->process_file);
        free(run->message);
}

static void run_init(struct run *run, const struct exec_options *options, struct error *err)
{
        *run = (struct run){.options = options, .err = err};
        char digits[NAME_DIGITS + 1];
        id_random_hex(digits, NAME_DIGITS);
        snprintf(run->name, sizeof run->name, NAME_PREFIX "%s", digits);
        run->log = xprintf("%s/%s.log", options->run_dir, run->name);
        run->pid_file = xprintf("%s/%s.pid", options->run_dir, run->name);
        run->process_file = xprintf("%s/%s.json", options->run_dir, run->name);
        if (options->handler->exec_cgroup != RUNTIME_EXEC_CGROUP_NONE)
                run->cgroup = xprintf("%s/%s", options->cgroup_path, run->name);
}

/* On a worker. */
static int prepare(void *argument)
{
        struct run *run = argument;
        const struct exec_options *options = run->options;
        bool all = options->handler->exec_cgroup == RUNTIME_EXEC_CGROUP_ALL;
        AUTO_FREE char *mark = run->cgroup ? NULL : xprintf(MARK "=%s", run->name);
        int result = exec_process_write(options->bundle, options->command, false, mark,
                                        run->process_file, run->err);
        if (result == 0 && run->cgroup) {
                result = cgroup_child_make(options->cgroups, run->cgroup, all, &run->child,
                                           run->err);
                if (result == -ENOENT)
                        result = error_set(run->err, ERROR_FAILED_PRECONDITION,
                                           "the container's cgroup is gone: it has ended");
        }
        if (result < 0)
                unlink(run->process_file);
        return result;
}

/* The NAME=value that a runtime without --cgroup is given, to know the command's processes again.
 */
static bool has_mark(pid_t pid, const char *mark)
{
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
        AUTO_BUFFER struct buffer variables = BUFFER_INIT;
        if (file_read(path, ENVIRON_MAX, &variables, NULL) < 0 || !variables.data)
                return false;
        for (size_t at = 0; at < variables.length; at += strlen(variables.data + at) + 1)
                if (strcmp(variables.data + at, mark) == 0)
                        return true;
        return false;
}

/*
 * Where the runtime knows no --cgroup, the command's processes are those of the container that have
 * its mark in their environment. One that was started with another environment escapes; no runtime
 * that we know of and use leaves us without the better way.
 */
static void kill_marked(const struct run *run)
{
        AUTO_FREE char *mark = xprintf(MARK "=%s", run->name);
        for (int round = 0; round < MARK_ROUNDS; round++) {
                AUTO_FREE pid_t *pids = NULL;
                size_t count = 0, killed = 0;
                if (cgroup_processes(run->options->cgroups, run->options->cgroup_path, &pids,
                                     &count, NULL) < 0)
                        return;
                for (size_t i = 0; i < count; i++) {
                        AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, pids[i], 0);
                        if (pidfd < 0 || !has_mark(pids[i], mark))
                                continue;
                        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
                        killed++;
                }
                if (killed == 0)
                        return;
        }
}

/*
 * On a worker, when the runtime has ended or was killed. Only now is what is in the cgroup all that
 * there will be: the runtime puts the command there before it lets it go, and waits no more.
 */
static int finish(void *argument)
{
        struct run *run = argument;
        const struct cgroup_system *cgroups = run->options->cgroups;
        run->started = access(run->pid_file, F_OK) == 0;
        if (!run->started) {
                run->kill = true;
                run->message = runtime_failure(run->log, run->errors->data, run->errors->length);
        }
        unlink(run->process_file);
        unlink(run->pid_file);
        unlink(run->log);
        if (!run->cgroup) {
                if (run->kill)
                        kill_marked(run);
                return 0;
        }
        int result = 0;
        if (run->kill) {
                int64_t deadline = clock_after(EXEC_KILL_TIME);
                result = cgroup_kill(cgroups, run->cgroup, deadline, run->err);
                if (result == 0)
                        cgroup_remove(cgroups, run->cgroup, deadline, NULL);
        } else {
                cgroup_child_dissolve(cgroups, run->cgroup);
        }
        return result;
}

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

/* crisp-exec PID-FILE and the runtime's own words. */
static char **helper_argv(const char *helper, const char *pid_file, char *const *runtime)
{
        char **argv = NULL;
        strv_push(&argv, helper);
        strv_push(&argv, pid_file);
        for (; *runtime; runtime++)
                strv_push(&argv, *runtime);
        return argv;
}

static int kill_command_on_worker(void *argument)
{
        const struct run *run = argument;
        return run->cgroup ? cgroup_kill(run->options->cgroups, run->cgroup,
                                         clock_after(EXEC_KILL_TIME), NULL)
                           : 0;
}

/*
 * While crisp-exec lives it reaps the command; left to the machine's first process, the command
 * might be seen as a zombie for a while. What comes into the cgroup after this, finish() kills.
 */
static void kill_command(void *argument)
{
        task_offload(kill_command_on_worker, argument);
}

static int start_and_wait(struct run *run, struct process_run *process, bool interruptible,
                          struct error *err)
{
        const struct exec_options *options = run->options;
        const char *tasks[] = {run->child.cpuset_tasks, NULL};
        if (run->child.controller)
                run->sub_cgroup = xprintf("%s:%s", run->child.controller, run->name);
        else if (run->cgroup)
                run->sub_cgroup = xstrdup(run->name);
        const struct exec_words words = {
                .log = run->log,
                .pid_file = run->pid_file,
                .sub_cgroup = run->sub_cgroup,
                .process_file = run->process_file,
                .detach = options->helper != NULL,
        };
        char **runtime = exec_argv(options->handler, options->id, &words);
        char **argv = options->helper ? helper_argv(options->helper, run->pid_file, runtime)
                                      : strv_dup(runtime);
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
        process->on_kill = kill_command;
        process->on_kill_argument = run;
        int result = process_run(&start, process, err);
        strv_free(runtime);
        strv_free(argv);
        return result;
}

/* What came of a run that was not killed. */
static int judge(const struct run *run, const struct process_run *process,
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
static int run_whole(struct run *run, struct process_run *process, bool interruptible,
                     struct error *err)
{
        struct error after = {0};
        int status = task_offload(prepare, run);
        if (status < 0)
                return error_context(err, "exec");
        status = start_and_wait(run, process, interruptible, err);
        run->err = &after;
        run->errors = &process->errors;
        run->kill = status < 0 || WIFSIGNALED(process->status);
        int left = task_offload(finish, run);
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
        struct run run;
        struct process_run process = {0};
        run_init(&run, options, err);
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
        run_fini(&run);
        return status;
}

void exec_result_fini(struct exec_result *result)
{
        buffer_fini(&result->output);
        buffer_fini(&result->errors);
}
