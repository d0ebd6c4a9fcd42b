#include "oci/shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/ttrpc/server.h"
#include "base/log.h"
#include "base/memory.h"
#include "oci/shim_private.h"

struct shims shims;

/* ---- what is known ---- */

static void task_free(struct shim_task *task)
{
        if (!task)
                return;
        free(task->pod_id);
        free(task->bundle);
        free(task);
}

void shim_unref(struct shim *shim)
{
        if (!shim || --shim->refs)
                return;
        watch_free(shim->log_watch);
        cleanup_fd(&shim->log);
        ttrpc_client_free(shim->client);
        shim_bootstrap_fini(&shim->bootstrap);
        free(shim->pod_id);
        free(shim->folder);
        free(shim);
}

void shim_know(const struct runtime_handler *handler, const char *pod_id, const char *folder)
{
        if (!shims.pods || table_get(shims.pods, pod_id))
                return;
        struct shim *shim = xcalloc(1, sizeof *shim);
        shim->refs = 1;
        shim->handler = handler;
        shim->pod_id = xstrdup(pod_id);
        shim->folder = xstrdup(folder);
        shim->log = -1;
        table_put(shims.pods, pod_id, shim);
}

void shim_know_task(const char *container_id, const char *pod_id, const char *bundle)
{
        if (!shims.tasks)
                return;
        struct shim_task *task = xcalloc(1, sizeof *task);
        task->pod_id = xstrdup(pod_id);
        task->bundle = xstrdup(bundle);
        task_free(table_put(shims.tasks, container_id, task));
}

void shim_forget_task(const char *container_id)
{
        if (shims.tasks)
                task_free(table_remove(shims.tasks, container_id));
}

struct shim *shim_of_pod(const char *pod_id)
{
        struct shim *shim = shims.pods ? table_get(shims.pods, pod_id) : NULL;
        if (shim)
                shim->refs++;
        return shim;
}

struct shim *shim_of_task(const char *container_id, const struct shim_task **task)
{
        *task = shims.tasks ? table_get(shims.tasks, container_id) : NULL;
        return *task ? shim_of_pod((*task)->pod_id) : NULL;
}

char *shim_bundle(const struct shim *shim)
{
        return xprintf("%s/%s", shim->folder, shim->pod_id);
}

/* ---- asking ---- */

const char *shim_service(const struct shim *shim)
{
        /* The messages are the same. */
        return shim->bootstrap.version == 3 ? "containerd.task.v3.Task" : "containerd.task.v2.Task";
}

bool shim_is_gone(const struct error *err)
{
        return err->code == ERROR_UNAVAILABLE;
}

int shim_ask_service(struct shim *shim, const char *service, const char *method,
                     const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
                     int64_t deadline, ProtobufCMessage **response, struct error *err)
{
        int result = shim_connect_client(shim, deadline, err);
        if (result == 0)
                result = ttrpc_call(shim->client, service ? service : shim_service(shim), method,
                                    request, type, deadline, response, err);
        return result < 0 ? error_context(err, "%s %s", shim->handler->name, method) : 0;
}

int shim_ask(struct shim *shim, const char *method, const ProtobufCMessage *request,
             const ProtobufCMessageDescriptor *type, int64_t deadline, ProtobufCMessage **response,
             struct error *err)
{
        return shim_ask_service(shim, NULL, method, request, type, deadline, response, err);
}

/* ---- all of them ---- */

int shims_open(const struct shims_options *options, struct error *err)
{
        shims.run_dir = xstrdup(options->run_dir);
        shims.address = xstrdup(options->address);
        shims.events = xprintf("%s/shims.ttrpc", options->run_dir);
        shims.on_gone = options->on_gone;
        shims.on_oom = options->on_oom;
        shims.pods = table_new();
        shims.tasks = table_new();
        return shim_events_open(err);
}

void shims_close(void)
{
        size_t cursor = 0;
        ttrpc_server_free(shims.server);
        for (struct shim *shim; shims.pods && (shim = table_next(shims.pods, &cursor, NULL));)
                shim_unref(shim);
        cursor = 0;
        for (struct shim_task *task;
             shims.tasks && (task = table_next(shims.tasks, &cursor, NULL));)
                task_free(task);
        table_free(shims.pods);
        table_free(shims.tasks);
        free(shims.run_dir);
        free(shims.address);
        free(shims.events);
        shims = (struct shims){0};
}
