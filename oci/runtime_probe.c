/* What a runtime handler's program is and can do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "oci/idmap.h"
#include "oci/runtime_private.h"

#define ROOT_MODE 0700

void runtime_handler_init(struct runtime_handler *handler, const char *name, const char *path,
                          const char *root, enum runtime_kind kind, bool systemd_cgroup)
{
        *handler = (struct runtime_handler){
                .name = xstrdup(name),
                .path = xstrdup(path),
                .root = xstrdup(root),
                .kind = kind,
                .systemd_cgroup = systemd_cgroup,
                .operations = kind == RUNTIME_KIND_SHIM ? &runtime_shim_operations : NULL,
        };
}

void runtime_handler_fini(struct runtime_handler *handler)
{
        free(handler->name);
        free(handler->path);
        free(handler->root);
        free(handler->shim_runtime);
        free(handler->shim_config);
        free(handler->shim_options_type);
        free(handler->version);
        free(handler->problem);
        *handler = (struct runtime_handler){0};
}

bool runtime_is_shim_of_runc(const struct runtime_handler *handler)
{
        static const char prefix[] = "containerd-shim-runc-";
        const char *slash = strrchr(handler->path, '/');
        return handler->kind == RUNTIME_KIND_SHIM && slash &&
               strncmp(slash + 1, prefix, sizeof prefix - 1) == 0;
}

int runtime_check(const struct runtime_handler *handler, struct error *err)
{
        if (access(handler->path, X_OK) == 0)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION, "runtime handler %s: %s: %s",
                         handler->name, handler->path, strerror(errno));
}

struct folder {
        const char *path;
        struct error *err;
};

static int make_root(void *argument)
{
        struct folder *folder = argument;
        return file_make_directories(folder->path, ROOT_MODE, folder->err);
}

/* Runs the program with these words; true when it ended well. */
static int ask(const struct runtime_handler *handler, char *const *argv, int64_t deadline,
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

static bool ended_well(const struct process_run *run)
{
        return WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0;
}

static int find_version(struct runtime_handler *handler, int64_t deadline, struct error *err)
{
        char flag[] = "--version";
        char *argv[] = {handler->path, flag, NULL};
        struct process_run run = {0};
        int result = ask(handler, argv, deadline, &run, err);
        if (result == 0 && !ended_well(&run)) {
                AUTO_FREE char *why = runtime_failure(NULL, run.errors.data, run.errors.length);
                result = error_set(err, ERROR_FAILED_PRECONDITION, "%s --version: %s",
                                   handler->path, why[0] ? why : "it failed and said nothing");
        } else if (result == 0) {
                const char *text = run.output.data ? run.output.data : "";
                free(handler->version);
                handler->version = xstrndup(text, strcspn(text, "\n"));
        }
        process_run_fini(&run);
        return result;
}

/* crun's own help says that the sub-cgroup is the same in every hierarchy; runc's names a
 * controller. */
static void find_exec_cgroup(struct runtime_handler *handler, int64_t deadline)
{
        char verb[] = "exec", flag[] = "--help";
        char *argv[] = {handler->path, verb, flag, NULL};
        struct process_run run = {0};
        handler->exec_cgroup = RUNTIME_EXEC_CGROUP_NONE;
        if (ask(handler, argv, deadline, &run, NULL) == 0 && run.output.data) {
                if (strstr(run.output.data, "<controller>:"))
                        handler->exec_cgroup = RUNTIME_EXEC_CGROUP_CONTROLLER;
                else if (strstr(run.output.data, "--cgroup"))
                        handler->exec_cgroup = RUNTIME_EXEC_CGROUP_ALL;
        }
        process_run_fini(&run);
}

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

/* `features`, from the runtime specification 1.1; older runtimes do not know it, and crun 1.4 and
 * later has recursive read-only mounts without saying so. */
static void find_features(struct runtime_handler *handler, int64_t deadline)
{
        char verb[] = "features";
        char *argv[] = {handler->path, verb, NULL};
        struct process_run run = {0};
        AUTO_JSON json_t *answer = NULL;
        if (ask(handler, argv, deadline, &run, NULL) == 0 && ended_well(&run) && run.output.data &&
            json_parse(run.output.data, run.output.length, "features", &answer, NULL) == 0) {
                int enabled = 0;
                handler->recursive_read_only =
                        lists(json_object_get(answer, "mountOptions"), "rro");
                handler->idmapped_mounts =
                        json_unpack(answer, "{s:{s:{s:{s:b}}}}", "linux", "mountExtensions",
                                    "idmap", "enabled", &enabled) == 0 &&
                        enabled;
        } else {
                unsigned major = 0, minor = 0;
                handler->idmapped_mounts = false;
                handler->recursive_read_only =
                        sscanf(handler->version, "crun version %u.%u", &major, &minor) == 2 &&
                        (major > 1 || (major == 1 && minor >= 4));
        }
        handler->recursive_read_only = handler->recursive_read_only && idmap_kernel_can();
        process_run_fini(&run);
}

int runtime_probe(struct runtime_handler *handler, int64_t deadline, struct error *err)
{
        struct error why;
        int result = runtime_check(handler, &why);
        if (result == 0) {
                struct folder root = {handler->root, &why};
                result = task_offload(make_root, &root);
                if (result == 0)
                        result = handler->operations
                                         ? handler->operations->probe(handler, deadline, &why)
                                         : find_version(handler, deadline, &why);
                if (result < 0 && why.code != ERROR_FAILED_PRECONDITION) {
                        why.code = ERROR_FAILED_PRECONDITION;
                        error_context(&why, "runtime handler %s", handler->name);
                }
        }
        free(handler->problem);
        handler->problem = NULL;
        if (result < 0) {
                handler->problem = xstrdup(why.message);
                if (err)
                        *err = why;
                return result;
        }
        if (handler->kind == RUNTIME_KIND_OCI) {
                find_exec_cgroup(handler, deadline);
                find_features(handler, deadline);
        }
        return 0;
}
