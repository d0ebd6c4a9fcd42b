/* What stands for the pod in its shim: a container of ours, or the sandbox of the sandbox API. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "oci/shim_private.h"
#include "api/shim/sandbox_v1.pb-c.h"
#include "api/shim/task_v2.pb-c.h"

#define SERVICE      "containerd.runtime.sandbox.v1.Sandbox"
#define STOP_SECONDS 5 /* that the shim gives what runs in the sandbox */

typedef Containerd__Runtime__Sandbox__V1__CreateSandboxRequest__AnnotationsEntry entry;

/* ---- starting ---- */

static int ask(struct shim *shim, const char *method, const ProtobufCMessage *request,
               int64_t deadline, struct error *err)
{
        return shim_ask_service(shim, SERVICE, method, request, NULL, deadline, NULL, err);
}

static int by_key(const void *left, const void *right)
{
        return strcmp((*(entry *const *)left)->key, (*(entry *const *)right)->key);
}

static int create(struct shim *shim, const struct shim_start *start, int64_t deadline,
                  struct error *err)
{
        Containerd__Runtime__Sandbox__V1__CreateSandboxRequest request =
                CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_REQUEST__INIT;
        Google__Protobuf__Any config = GOOGLE__PROTOBUF__ANY__INIT;
        AUTO_FREE char *bundle = shim_bundle(shim);
        size_t count = start->annotation_count;
        AUTO_FREE entry *entries = xcalloc(count + 1, sizeof *entries);
        AUTO_FREE entry **list = xcalloc(count + 1, sizeof *list);
        for (size_t i = 0; i < count; i++) {
                containerd__runtime__sandbox__v1__create_sandbox_request__annotations_entry__init(
                        &entries[i]);
                entries[i].key = (char *)start->annotations[i].key;
                entries[i].value = (char *)start->annotations[i].value;
                list[i] = &entries[i];
        }
        /* A map has no order: so the same request is always the same bytes. */
        qsort(list, count, sizeof *list, by_key);
        config.type_url = (char *)start->pod_config_type;
        config.value.data = (uint8_t *)start->pod_config;
        config.value.len = start->pod_config_length;
        request.sandbox_id = shim->pod_id;
        request.bundle_path = bundle;
        request.options = &config;
        request.netns_path = (char *)(start->netns ? start->netns : "");
        request.annotations = list;
        request.n_annotations = count;
        int result = ask(shim, "CreateSandbox", &request.base, deadline, err);
        if (result < 0 && err->code == ERROR_UNIMPLEMENTED)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s has no sandbox API: take shim_sandbox_api out of the "
                                 "configuration of runtime handler %s",
                                 shim->handler->path, shim->handler->name);
        return result;
}

static int start_by_api(struct shim *shim, const struct shim_start *start, int64_t deadline,
                        struct error *err)
{
        Containerd__Runtime__Sandbox__V1__StartSandboxRequest request =
                CONTAINERD__RUNTIME__SANDBOX__V1__START_SANDBOX_REQUEST__INIT;
        request.sandbox_id = shim->pod_id;
        int result = create(shim, start, deadline, err);
        return result < 0 ? result : ask(shim, "StartSandbox", &request.base, deadline, err);
}

static int start_container(struct shim *shim, int64_t deadline, struct error *err)
{
        Containerd__Task__V2__CreateTaskRequest create =
                CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
        Containerd__Task__V2__StartRequest start = CONTAINERD__TASK__V2__START_REQUEST__INIT;
        Google__Protobuf__Any options = GOOGLE__PROTOBUF__ANY__INIT;
        AUTO_FREE char *bundle = shim_bundle(shim);
        create.id = start.id = shim->pod_id;
        create.bundle = bundle;
        if (shim_options(shim->handler, &options))
                create.options = &options;
        int result = shim_ask(shim, "Create", &create.base, NULL, deadline, NULL, err);
        if (create.options)
                free(options.value.data);
        return result < 0 ? result
                          : shim_ask(shim, "Start", &start.base, NULL, deadline, NULL, err);
}

int shim_sandbox_start(struct shim *shim, const struct shim_start *start, int64_t deadline,
                       struct error *err)
{
        int result = shim->sandbox_api ? start_by_api(shim, start, deadline, err)
                                       : start_container(shim, deadline, err);
        if (result < 0)
                return error_context(err, "the pod's sandbox");
        shim->sandbox_known = true;
        shim_sandbox_await(shim);
        return 0;
}

/* ---- its end, by itself ---- */

/* A machine may die while its shim lives. */
static void on_end(void *argument, const struct error *why)
{
        const struct shim *shim = argument;
        /* What the shim does not know has ended, too; what it does not do says nothing. */
        if (shim->stopping || (why && why->code != ERROR_NOT_FOUND))
                return;
        log_warning("a pod's sandbox has ended", "pod", shim->pod_id, "handler",
                    shim->handler->name, NULL);
        if (shims.on_gone)
                shims.on_gone(shim->pod_id);
}

void shim_sandbox_await(struct shim *shim)
{
        Containerd__Runtime__Sandbox__V1__WaitSandboxRequest sandbox =
                CONTAINERD__RUNTIME__SANDBOX__V1__WAIT_SANDBOX_REQUEST__INIT;
        Containerd__Task__V2__WaitRequest container = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
        struct error err;
        if (shim->stopping)
                return;
        sandbox.sandbox_id = container.id = shim->pod_id;
        /* The connection, and with it the call, goes before the shim does. */
        int result = shim->sandbox_api ? ttrpc_ask(shim->client, SERVICE, "WaitSandbox",
                                                   &sandbox.base, on_end, shim, &err)
                                       : ttrpc_ask(shim->client, shim_service(shim), "Wait",
                                                   &container.base, on_end, shim, &err);
        /* A connection that has just ended is told by itself. */
        if (result < 0 && !shim_is_gone(&err))
                log_failure(&err, "the end of a pod's sandbox will not be seen", "pod",
                            shim->pod_id, NULL);
}

/* ---- ending it ---- */

static bool is_over(int result, const struct error *why)
{
        return result == 0 || why->code == ERROR_NOT_FOUND || shim_is_gone(why);
}

static int end_by_api(struct shim *shim, int64_t deadline, struct error *err)
{
        Containerd__Runtime__Sandbox__V1__StopSandboxRequest stop =
                CONTAINERD__RUNTIME__SANDBOX__V1__STOP_SANDBOX_REQUEST__INIT;
        Containerd__Runtime__Sandbox__V1__ShutdownSandboxRequest shut =
                CONTAINERD__RUNTIME__SANDBOX__V1__SHUTDOWN_SANDBOX_REQUEST__INIT;
        struct error why;
        stop.sandbox_id = shut.sandbox_id = shim->pod_id;
        stop.timeout_secs = STOP_SECONDS;
        int result = ask(shim, "StopSandbox", &stop.base, deadline, &why);
        if (is_over(result, &why))
                result = ask(shim, "ShutdownSandbox", &shut.base, deadline, &why);
        if (is_over(result, &why))
                return 0;
        *err = why;
        return result;
}

int shim_sandbox_end(struct shim *shim, int64_t deadline, struct error *err)
{
        return shim->sandbox_api ? end_by_api(shim, deadline, err)
                                 : shim_delete_task(shim, shim->pod_id, deadline, err);
}
