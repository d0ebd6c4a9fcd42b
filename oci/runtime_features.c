/* What a runtime can do, as it tells of itself: by `features`, or else by its help. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/process.h"
#include "oci/idmap.h"
#include "oci/runtime_private.h"
#include "oci/spec.h"

static const char *const command_names[RUNTIME_COMMANDS] = {
        [RUNTIME_COMMAND_PAUSE] = "pause",           [RUNTIME_COMMAND_RESUME] = "resume",
        [RUNTIME_COMMAND_UPDATE] = "update",         [RUNTIME_COMMAND_PS] = "ps",
        [RUNTIME_COMMAND_EVENTS] = "events",         [RUNTIME_COMMAND_FEATURES] = "features",
        [RUNTIME_COMMAND_CHECKPOINT] = "checkpoint", [RUNTIME_COMMAND_RESTORE] = "restore",
};

const char *runtime_command_name(enum runtime_command command)
{
        return command_names[command];
}

int runtime_has(const struct runtime_handler *handler, enum runtime_command command,
                struct error *err)
{
        if (handler->commands[command])
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION, "runtime handler %s: %s has no command %s",
                         handler->name, handler->version ? handler->version : handler->path,
                         command_names[command]);
}

int runtime_ask(const struct runtime_handler *handler, char *const *argv, int64_t deadline,
                struct process_run *run, struct error *err)
{
        struct process_options options = PROCESS_OPTIONS_INIT;
        options.path = handler->path;
        options.argv = argv;
        options.environment = runtime_environment();
        run->output_max = RUNTIME_OUTPUT_MAX;
        run->errors_max = RUNTIME_ERRORS_MAX;
        run->deadline = deadline;
        return process_run(&options, run, err);
}

bool runtime_ended_well(const struct process_run *run)
{
        return WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0;
}

/* ---- versions of the specification ---- */

/* "1.0.2-dev" is what comes before 1.0.2, but who says so speaks it. */
static unsigned long version_number(const char *text)
{
        unsigned major = 0, minor = 0, patch = 0;
        if (sscanf(text, "%3u.%3u.%3u", &major, &minor, &patch) < 2)
                return 0;
        return (major * 1000ul + minor) * 1000 + patch;
}

const char *runtime_spec_version(const struct runtime_handler *handler)
{
        unsigned long theirs = handler->spec_version ? version_number(handler->spec_version) : 0;
        return theirs && theirs < version_number(SPEC_VERSION) ? handler->spec_version
                                                               : SPEC_VERSION;
}

/* ---- help ---- */

/* A line "   pause  ..." or "\tpause - ...", as all runtimes list their commands. */
static bool help_lists(const char *help, const char *name)
{
        size_t length = strlen(name);
        for (const char *line = help; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                size_t indent = strspn(line, " \t");
                if (indent && strncmp(line + indent, name, length) == 0 &&
                    strchr(" \t,\n", line[indent + length]))
                        return true;
        }
        return false;
}

static void find_commands(struct runtime_handler *handler, int64_t deadline)
{
        char flag[] = "--help";
        char *argv[] = {handler->path, flag, NULL};
        struct process_run run = {0};
        bool asked = runtime_ask(handler, argv, deadline, &run, NULL) == 0;
        for (size_t i = 0; i < RUNTIME_COMMANDS; i++)
                handler->commands[i] =
                        asked && run.output.data && help_lists(run.output.data, command_names[i]);
        process_run_fini(&run);
}

/* crun's own help says that the sub-cgroup is the same in every hierarchy; runc's names a
 * controller. */
static void find_exec_cgroup(struct runtime_handler *handler, int64_t deadline)
{
        char verb[] = "exec", flag[] = "--help";
        char *argv[] = {handler->path, verb, flag, NULL};
        struct process_run run = {0};
        handler->exec_cgroup = RUNTIME_EXEC_CGROUP_NONE;
        if (runtime_ask(handler, argv, deadline, &run, NULL) == 0 && run.output.data) {
                if (strstr(run.output.data, "<controller>:"))
                        handler->exec_cgroup = RUNTIME_EXEC_CGROUP_CONTROLLER;
                else if (strstr(run.output.data, "--cgroup"))
                        handler->exec_cgroup = RUNTIME_EXEC_CGROUP_ALL;
        }
        process_run_fini(&run);
}

/* ---- features ---- */

static bool lists(const json_t *array, const char *word)
{
        size_t index;
        json_t *entry;
        json_array_foreach (array, index, entry) {
                const char *text = json_string_value(entry);
                if (text && strcmp(text, word) == 0)
                        return true;
        }
        return false;
}

static void read_features(struct runtime_handler *handler, const json_t *answer)
{
        int enabled = 0;
        const char *version = json_string_value(json_object_get(answer, "ociVersionMax"));
        handler->recursive_read_only = lists(json_object_get(answer, "mountOptions"), "rro");
        handler->user_namespaces =
                lists(json_object_get(json_object_get(answer, "linux"), "namespaces"), "user");
        handler->idmapped_mounts =
                json_unpack((json_t *)answer, "{s:{s:{s:{s:b}}}}", "linux", "mountExtensions",
                            "idmap", "enabled", &enabled) == 0 &&
                enabled;
        if (version && version_number(version)) {
                free(handler->spec_version);
                handler->spec_version = xstrdup(version);
        }
}

/* What is known of those that do not say: crun has recursive read-only mounts from 1.4 on. */
static void assume_features(struct runtime_handler *handler)
{
        unsigned major = 0, minor = 0;
        bool crun = sscanf(handler->version, "crun version %u.%u", &major, &minor) == 2;
        handler->idmapped_mounts = false;
        handler->recursive_read_only = crun && (major > 1 || (major == 1 && minor >= 4));
        handler->user_namespaces = crun && major >= 1;
}

void runtime_find_features(struct runtime_handler *handler, int64_t deadline)
{
        char verb[] = "features";
        char *argv[] = {handler->path, verb, NULL};
        struct process_run run = {0};
        AUTO_JSON json_t *answer = NULL;
        find_commands(handler, deadline);
        find_exec_cgroup(handler, deadline);
        /* Not every runtime that has it says so in its help: it is tried. */
        handler->commands[RUNTIME_COMMAND_FEATURES] =
                runtime_ask(handler, argv, deadline, &run, NULL) == 0 && runtime_ended_well(&run) &&
                run.output.data &&
                json_parse(run.output.data, run.output.length, "features", &answer, NULL) == 0;
        if (handler->commands[RUNTIME_COMMAND_FEATURES])
                read_features(handler, answer);
        else
                assume_features(handler);
        handler->no_negative_quota = strncmp(handler->version, "crun ", 5) == 0;
        handler->recursive_read_only = handler->recursive_read_only && idmap_kernel_can();
        process_run_fini(&run);
}
