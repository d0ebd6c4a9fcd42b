/* What a runtime handler's program is and can do. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
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
        free(handler->spec_version);
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

static int find_version(struct runtime_handler *handler, int64_t deadline, struct error *err)
{
        char flag[] = "--version";
        char *argv[] = {handler->path, flag, NULL};
        struct process_run run = {0};
        int result = runtime_ask(handler, argv, deadline, &run, err);
        if (result == 0 && !runtime_ended_well(&run)) {
                AUTO_FREE char *why = runtime_failure(NULL, run.errors.data, run.errors.length);
                result = error_set(err, ERROR_FAILED_PRECONDITION,
                                   "runtime handler %s: %s --version: %s", handler->name,
                                   handler->path, why[0] ? why : "it failed and said nothing");
        } else if (result == 0) {
                const char *text = run.output.data ? run.output.data : "";
                free(handler->version);
                free(handler->spec_version);
                handler->version = xstrndup(text, strcspn(text, "\n"));
                /* Runtimes print it here; `features`, where it is there, knows better. */
                const char *spec = strstr(text, "\nspec: ");
                handler->spec_version = spec ? xstrndup(spec + 7, strcspn(spec + 7, "\n")) : NULL;
        }
        process_run_fini(&run);
        return result;
}

static struct runtime_file identify(const char *path)
{
        struct stat info;
        if (stat(path, &info) < 0)
                return (struct runtime_file){0};
        return (struct runtime_file){info.st_dev, info.st_ino,
                                     info.st_ctim.tv_sec * NSEC_PER_SEC + info.st_ctim.tv_nsec};
}

/* crun takes /sys/fs/cgroup/unified for a controller that it does not know, and makes no container.
 */
static int check_hybrid(const struct runtime_handler *handler, struct error *err)
{
        unsigned major = 0, minor = 0;
        if (!handler->hybrid ||
            sscanf(handler->version, "crun version %u.%u", &major, &minor) != 2 || major > 1 ||
            (major == 1 && minor >= 9))
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "runtime handler %s: %s cannot run containers where /sys/fs/cgroup is "
                         "hybrid (cgroup v1 with v2 in /sys/fs/cgroup/unified): boot the machine "
                         "with cgroup v2 alone, install crun 1.9 or later, or use runc",
                         handler->name, handler->version);
}

static int probe_program(struct runtime_handler *handler, int64_t deadline, struct error *err)
{
        struct folder root = {handler->root, err};
        int result = handler->root[0] ? task_offload(make_root, &root) : 0;
        if (result == 0)
                result = handler->operations ? handler->operations->probe(handler, deadline, err)
                                             : find_version(handler, deadline, err);
        if (result == 0 && !handler->operations) {
                runtime_find_features(handler, deadline);
                result = check_hybrid(handler, err);
        }
        if (result < 0 && err->code != ERROR_FAILED_PRECONDITION) {
                err->code = ERROR_FAILED_PRECONDITION;
                error_context(err, "runtime handler %s", handler->name);
        }
        return result;
}

int runtime_probe(struct runtime_handler *handler, int64_t deadline, struct error *err)
{
        struct error why;
        struct runtime_file program = identify(handler->path);
        int result = runtime_check(handler, &why);
        if (result == 0)
                result = probe_program(handler, deadline, &why);
        free(handler->problem);
        handler->problem = result < 0 ? xstrdup(why.message) : NULL;
        handler->probed = program;
        if (result < 0 && err)
                *err = why;
        return result;
}

bool runtime_is_known(const struct runtime_handler *handler)
{
        struct runtime_file program = identify(handler->path);
        return (handler->version || handler->kind != RUNTIME_KIND_OCI) && !handler->problem &&
               memcmp(&program, &handler->probed, sizeof program) == 0;
}

int runtime_ready(struct runtime_handler *handler, int64_t deadline, struct error *err)
{
        int result = runtime_check(handler, err);
        if (result < 0)
                return result;
        if (runtime_is_known(handler))
                return 0;
        if (task_lock(&handler->probing, deadline) < 0)
                return error_set(err, ERROR_DEADLINE_EXCEEDED,
                                 "runtime handler %s: %s has not answered in time", handler->name,
                                 handler->path);
        result = runtime_is_known(handler) ? 0 : runtime_probe(handler, deadline, err);
        task_unlock(&handler->probing);
        return result;
}
