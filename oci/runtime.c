#include "oci/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "conmon/protocol.h"
#include "oci/runtime_private.h"

char *const *runtime_environment(void)
{
        static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        /* crun and rootless code ask for it; without one they look in odd places. */
        static char run[] = "XDG_RUNTIME_DIR=/run";
        static char *const environment[] = {path, run, NULL};
        return environment;
}

char **runtime_base_argv(const struct runtime_handler *handler, const char *log)
{
        char **argv = NULL;
        strv_push(&argv, handler->path);
        strv_push(&argv, "--root");
        strv_push(&argv, handler->root);
        if (handler->systemd_cgroup)
                strv_push(&argv, "--systemd-cgroup");
        if (log) {
                strv_push(&argv, "--log");
                strv_push(&argv, log);
        }
        strv_push(&argv, "--log-format");
        strv_push(&argv, "json");
        return argv;
}

char **runtime_create_argv(const struct runtime_handler *handler, const char *id,
                           const char *bundle, const char *pid_file, const char *log, bool terminal)
{
        char **argv = runtime_base_argv(handler, log);
        strv_push(&argv, "create");
        strv_push(&argv, "--bundle");
        strv_push(&argv, bundle);
        strv_push(&argv, "--pid-file");
        strv_push(&argv, pid_file);
        if (terminal) {
                strv_push(&argv, "--console-socket");
                strv_push(&argv, MONITOR_CONSOLE_SOCKET);
        }
        if (handler->no_pivot)
                strv_push(&argv, "--no-pivot");
        strv_push(&argv, id);
        return argv;
}

int runtime_prepare_create(const struct runtime_handler *handler, struct runtime_create *create,
                           int64_t deadline, struct error *err)
{
        if (handler->operations)
                return handler->operations->prepare_create(handler, create, deadline, err);
        create->command = runtime_create_argv(handler, create->id, create->bundle, create->pid_file,
                                              create->log, create->terminal);
        return 0;
}

void runtime_create_fini(struct runtime_create *create)
{
        strv_free(create->command);
        free(create->shim);
        free(create->shim_create);
        free(create->shim_wait);
        free(create->shim_close);
        create->command = NULL;
        create->shim = create->shim_create = create->shim_wait = create->shim_close = NULL;
}

/* ---- running it ---- */

static void cleanup_run(struct process_run *run)
{
        process_run_fini(run);
}

static void cleanup_strv(char ***vector)
{
        strv_free(*vector);
}

/* What a command of the runtime needs besides its own words. */
struct command {
        const struct runtime_handler *handler;
        const char *verb;
        const char *const *words; /* after the verb, null-terminated */
        const char *input;        /* or null */
        int64_t deadline;
};

/* Runs it; 0 when it ran to its end, whatever its status. run is empty at the start and the
 * caller's to release. */
static int run_command(const struct command *command, struct process_run *run, struct error *err)
{
        const struct runtime_handler *handler = command->handler;
        if (handler->kind != RUNTIME_KIND_OCI)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "runtime handler %s is a shim and has no command line",
                                 handler->name);
        int result = runtime_check(handler, err);
        if (result < 0)
                return result;
        CLEANUP(cleanup_strv) char **argv = runtime_base_argv(handler, NULL);
        strv_push(&argv, command->verb);
        for (const char *const *word = command->words; *word; word++)
                strv_push(&argv, *word);
        struct process_options options = PROCESS_OPTIONS_INIT;
        options.path = handler->path;
        options.argv = argv;
        options.environment = runtime_environment();
        run->input = command->input;
        run->input_length = command->input ? strlen(command->input) : 0;
        run->output_max = RUNTIME_OUTPUT_MAX;
        run->errors_max = RUNTIME_ERRORS_MAX;
        run->deadline = command->deadline;
        result = process_run(&options, run, err);
        return result < 0 ? error_context(err, "%s %s", handler->name, command->verb) : 0;
}

/* The runtime's words for a run that failed, on the heap. */
static char *run_failure(const struct process_run *run)
{
        char *message = runtime_failure(NULL, run->errors.data, run->errors.length);
        if (message[0])
                return message;
        free(message);
        if (WIFSIGNALED(run->status))
                return xprintf("killed by signal %d", WTERMSIG(run->status));
        return xprintf("exit status %d", WEXITSTATUS(run->status));
}

/* Runs it and turns a failure into an error. */
static int run_checked(const struct command *command, struct process_run *run, struct error *err)
{
        int result = run_command(command, run, err);
        if (result < 0 || runtime_ended_well(run))
                return result;
        AUTO_FREE char *message = run_failure(run);
        return runtime_fail(command->handler, command->verb, message, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int run_simple(const struct runtime_handler *handler, const char *verb,
                      const char *const *words, int64_t deadline, struct error *err)
{
        CLEANUP(cleanup_run) struct process_run run = {0};
        struct command command = {handler, verb, words, NULL, deadline};
        return run_checked(&command, &run, err);
}

/* ---- commands ---- */

int runtime_start(const struct runtime_handler *handler, const char *id, int64_t deadline,
                  struct error *err)
{
        if (handler->operations)
                return handler->operations->start(handler, id, deadline, err);
        return run_simple(handler, "start", WORDS(id), deadline, err);
}

/* runc and crun have no exit status of their own for this, only words. */
bool runtime_says_not_running(const char *message)
{
        static const char *const words[] = {
                "process already finished", "container not running", "No such process",
                "no such process",          "is not running",        "does not exist",
        };
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
                if (strstr(message, words[i]))
                        return true;
        return false;
}

int runtime_kill(const struct runtime_handler *handler, const char *id, int signal, bool all,
                 int64_t deadline, struct error *err)
{
        if (handler->operations)
                return handler->operations->kill(handler, id, signal, all, deadline, err);
        AUTO_FREE char *number = xprintf("%d", signal);
        struct error why;
        int result =
                run_simple(handler, "kill", all ? WORDS("--all", id, number) : WORDS(id, number),
                           deadline, &why);
        if (result == 0 || why.code == ERROR_NOT_FOUND ||
            (why.code == ERROR_UNKNOWN && runtime_says_not_running(why.message)))
                return 0;
        if (err)
                *err = why;
        return result;
}

static int remove_left(void *path)
{
        file_remove_tree(path, NULL);
        return 0;
}

void runtime_forget(const struct runtime_handler *handler, const char *id)
{
        AUTO_FREE char *left = xprintf("%s/%s", handler->root, id);
        if (!handler->operations && handler->root[0] && access(left, F_OK) == 0)
                task_offload(remove_left, left);
}

int runtime_delete(const struct runtime_handler *handler, const char *id, bool force,
                   int64_t deadline, struct error *err)
{
        if (handler->operations)
                return handler->operations->delete (handler, id, force, deadline, err);
        struct error why;
        int result = run_simple(handler, "delete", force ? WORDS("--force", id) : WORDS(id),
                                deadline, &why);
        if (result < 0 && why.code == ERROR_NOT_FOUND)
                result = 0;
        if (result == 0) {
                /* crun forgets one whose hook failed, and leaves its folder. */
                runtime_forget(handler, id);
                return 0;
        }
        if (err)
                *err = why;
        return result;
}

int runtime_pause(const struct runtime_handler *handler, const char *id, int64_t deadline,
                  struct error *err)
{
        if (handler->operations)
                return handler->operations->pause(handler, id, deadline, err);
        return run_simple(handler, "pause", WORDS(id), deadline, err);
}

int runtime_resume(const struct runtime_handler *handler, const char *id, int64_t deadline,
                   struct error *err)
{
        if (handler->operations)
                return handler->operations->resume(handler, id, deadline, err);
        return run_simple(handler, "resume", WORDS(id), deadline, err);
}

int runtime_update(const struct runtime_handler *handler, const char *id, const char *resources,
                   int64_t deadline, struct error *err)
{
        if (handler->operations)
                return handler->operations->update(handler, id, resources, deadline, err);
        CLEANUP(cleanup_run) struct process_run run = {0};
        struct command command = {handler, "update", WORDS("--resources", "-", id), resources,
                                  deadline};
        return run_checked(&command, &run, err);
}

static enum runtime_status status_of(const char *word)
{
        static const char *const words[] = {
                [RUNTIME_STATUS_CREATING] = "creating", [RUNTIME_STATUS_CREATED] = "created",
                [RUNTIME_STATUS_RUNNING] = "running",   [RUNTIME_STATUS_PAUSED] = "paused",
                [RUNTIME_STATUS_STOPPED] = "stopped",
        };
        for (size_t i = RUNTIME_STATUS_CREATING; i < sizeof words / sizeof *words; i++)
                if (strcmp(words[i], word) == 0)
                        return (enum runtime_status)i;
        return RUNTIME_STATUS_UNKNOWN;
}

int runtime_state(const struct runtime_handler *handler, const char *id, int64_t deadline,
                  struct runtime_state *state, struct error *err)
{
        if (handler->operations)
                return handler->operations->state(handler, id, deadline, state, err);
        CLEANUP(cleanup_run) struct process_run run = {0};
        struct command command = {handler, "state", WORDS(id), NULL, deadline};
        int result = run_checked(&command, &run, err);
        if (result < 0)
                return result;
        AUTO_JSON json_t *answer = NULL;
        const char *word = "";
        int64_t pid = 0;
        result = json_parse(run.output.data ? run.output.data : "", run.output.length, "state",
                            &answer, err);
        if (result == 0)
                result = json_get_string(answer, "status", "state", &word, err);
        if (result == 0)
                result = json_get_int(answer, "pid", "state", &pid, err);
        if (result < 0)
                return error_context(err, "%s state", handler->name);
        state->status = status_of(word);
        state->pid = state->status == RUNTIME_STATUS_STOPPED ? 0 : (pid_t)pid;
        return 0;
}

int runtime_resize(const struct runtime_handler *handler, const char *id, uint16_t rows,
                   uint16_t columns, int64_t deadline, struct error *err)
{
        if (handler->operations)
                return handler->operations->resize(handler, id, rows, columns, deadline, err);
        return error_set(err, ERROR_UNIMPLEMENTED, "%s: its monitor sizes its terminals",
                         handler->name);
}

int runtime_list(const struct runtime_handler *handler, int64_t deadline, char ***ids,
                 struct error *err)
{
        CLEANUP(cleanup_run) struct process_run run = {0};
        struct command command = {handler, "list", WORDS("--quiet"), NULL, deadline};
        int result = run_checked(&command, &run, err);
        if (result < 0)
                return result;
        char **found = xcalloc(1, sizeof *found);
        char *state = NULL;
        for (char *id = run.output.data ? strtok_r(run.output.data, "\n", &state) : NULL; id;
             id = strtok_r(NULL, "\n", &state))
                strv_push(&found, id);
        *ids = found;
        return 0;
}
