#include "oci/exec_private.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/memory.h"
#include "base/task.h"
#include "oci/runtime_private.h"

#define NAME_DIGITS 16
#define NAME_PREFIX "crisp-exec-"
#define MARK        "CRISP_EXEC" /* an environment variable: see kill_marked */
#define MARK_ROUNDS 10
#define ENVIRON_MAX (2 * 1024 * 1024) /* bytes of /proc/PID/environ */
_Static_assert(sizeof NAME_PREFIX + NAME_DIGITS <= EXEC_NAME_SIZE, "a name has its room");

void exec_run_fini(struct exec_run *run)
{
        free(run->id);
        free(run->cgroup);
        free(run->child.cpuset_tasks);
        free(run->sub_cgroup);
        free(run->log);
        free(run->pid_file);
        free(run->process_file);
        free(run->console);
        free(run->message);
}

void exec_run_init(struct exec_run *run, const struct exec_options *options, struct error *err)
{
        *run = (struct exec_run){.options = options, .err = err};
        run->id = xstrdup(options->id);
        char digits[NAME_DIGITS + 1];
        id_random_hex(digits, NAME_DIGITS);
        snprintf(run->name, sizeof run->name, NAME_PREFIX "%s", digits);
        run->log = xprintf("%s/%s.log", options->run_dir, run->name);
        run->pid_file = xprintf("%s/%s.pid", options->run_dir, run->name);
        run->process_file = xprintf("%s/%s.json", options->run_dir, run->name);
        if (options->handler->exec_cgroup != RUNTIME_EXEC_CGROUP_NONE)
                run->cgroup = xprintf("%s/%s", options->cgroup_path, run->name);
}

int exec_run_prepare(void *argument)
{
        struct exec_run *run = argument;
        const struct exec_options *options = run->options;
        bool all = options->handler->exec_cgroup == RUNTIME_EXEC_CGROUP_ALL;
        AUTO_FREE char *mark = run->cgroup ? NULL : xprintf(MARK "=%s", run->name);
        int result = exec_process_write(options->bundle, options->command, options->terminal, mark,
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
static void kill_marked(const struct exec_run *run)
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

int exec_run_finish(void *argument)
{
        struct exec_run *run = argument;
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
        /* v1 counts kills in the cgroup of the killed alone, and this one goes. */
        if (cgroups->mode != CGROUP_MODE_V2 && cgroup_oom_killed(cgroups, run->cgroup)) {
                AUTO_FREE char *mark = xprintf("%s/" EXEC_OOM_MARK, run->options->run_dir);
                file_replace_volatile(mark, "", 0, 0600, NULL);
        }
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

char **exec_run_argv(struct exec_run *run)
{
        const struct exec_options *options = run->options;
        if (run->child.controller)
                run->sub_cgroup = xprintf("%s:%s", run->child.controller, run->name);
        else if (run->cgroup)
                run->sub_cgroup = xstrdup(run->name);
        const struct exec_words words = {
                .log = run->log,
                .pid_file = run->pid_file,
                .sub_cgroup = run->sub_cgroup,
                .process_file = run->process_file,
                .console_socket = run->console,
                .detach = options->helper != NULL,
                .exec_id = run->name,
                .helper = options->helper,
        };
        if (options->handler->operations)
                return options->handler->operations->exec_argv(options->handler, options->id,
                                                               &words);
        char **runtime = exec_argv(options->handler, options->id, &words);
        if (!options->helper)
                return runtime;
        char **argv = helper_argv(options->helper, run->pid_file, runtime);
        strv_free(runtime);
        return argv;
}

static int kill_command_on_worker(void *argument)
{
        const struct exec_run *run = argument;
        return run->cgroup ? cgroup_kill(run->options->cgroups, run->cgroup,
                                         clock_after(EXEC_KILL_TIME), NULL)
                           : 0;
}

void exec_run_kill(void *argument)
{
        const struct exec_run *run = argument;
        const struct exec_options *options = run->options;
        if (options->handler->operations)
                options->handler->operations->exec_kill(options->handler, run->id, run->name,
                                                        clock_after(EXEC_KILL_TIME));
        task_offload(kill_command_on_worker, argument);
}
