#include "cri/container_inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/pod_sysctl.h"
#include "cri/container_resources.h"
#include "cri/node.h"
#include "cri/pod.h"
#include "cri/status_info.h"
#include "image/layer.h"
#include "image/rootfs.h"
#include "oci/facts.h"
#include "oci/verify.h"

#define FINDINGS_MAX 4096 /* of one container: its mounts are most of them */

/* ---- which container ---- */

static bool is_named(const struct container *container, const char *name)
{
        const Runtime__V1__ContainerMetadata *metadata = container_config(container)->metadata;
        return metadata && metadata->name && strcmp(metadata->name, name) == 0;
}

/* By ID as everywhere, or else by a name that one container has; those that run go before. */
static int find(const char *name, struct container **container, struct error *err)
{
        struct container *found = NULL, *each;
        size_t cursor = 0, running = 0, all = 0;
        if (!*name)
                return error_set(err, ERROR_INVALID_ARGUMENT, "container: empty");
        int result = container_find(name, container, err);
        if (result == 0 || err->code != ERROR_NOT_FOUND)
                return result;
        while ((each = table_next(node.containers, &cursor, NULL))) {
                if (!is_named(each, name))
                        continue;
                all++;
                running += each->phase == CONTAINER_RUNNING;
                if (!found || each->phase == CONTAINER_RUNNING)
                        found = each;
        }
        if (!found)
                return result;
        if (running > 1 || (running == 0 && all > 1))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "container: %zu containers are called %s: give the ID of one",
                                 running ? running : all, name);
        *container = container_ref(found);
        return 0;
}

static int find_running(const char *name, struct container **container, struct error *err)
{
        AUTO_CONTAINER struct container *found = NULL;
        int result = find(name, &found, err);
        if (result < 0)
                return result;
        if (found->phase != CONTAINER_RUNNING)
                return error_set(err, ERROR_FAILED_PRECONDITION, "container %s: it does not run",
                                 found->id);
        *container = take_ptr(found);
        return 0;
}

/* What is seen here as its process is its machine's, of which the specification says nothing. */
static bool is_guest(const struct container *container)
{
        const struct runtime_handler *handler = container->pod->handler;
        return handler && handler->kind == RUNTIME_KIND_SHIM && handler->sandbox;
}

/* ---- what is looked at, on a worker ---- */

struct look {
        pid_t pid; /* 0: it does not run */
        const char *bundle, *cgroup_path;
        const char *limits;               /* JSON of linux.resources as it is now, or null */
        struct namespace_sysctl *sysctls; /* of its pod */
        size_t sysctl_count;
        json_t *spec, *facts;
        struct error *err;
};

/* They are written when the pod's namespaces are made, and no runtime is told of them. */
static void put_sysctls(const struct look *look)
{
        json_t *linux_object = json_object_get(look->spec, "linux");
        json_t *all = json_object_get(linux_object, "sysctl");
        if (!all && linux_object && look->sysctl_count) {
                all = json_object();
                json_object_set_new(linux_object, "sysctl", all);
        }
        for (size_t i = 0; all && i < look->sysctl_count; i++)
                json_object_set_new(all, look->sysctls[i].name,
                                    json_string(look->sysctls[i].value));
}

static int look_on_worker(void *argument)
{
        struct look *look = argument;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *limits = NULL;
        AUTO_FREE char *path = xprintf("%s/config.json", look->bundle);
        int result = file_read(path, STATUS_INFO_SPEC_MAX, &text, look->err);
        if (result == 0)
                result = json_parse(text.data, text.length, "config.json", &look->spec, look->err);
        if (result == 0 && look->limits)
                result = json_parse(look->limits, strlen(look->limits), "limits", &limits,
                                    look->err);
        if (result < 0)
                return result;
        put_sysctls(look);
        /* It may have got other limits since its specification was written. */
        json_t *resources = json_object_get(json_object_get(look->spec, "linux"), "resources");
        if (resources && limits)
                json_object_update(resources, limits);
        return look->pid ? facts_read(look->pid, &node.cgroups, look->cgroup_path, look->spec,
                                      &look->facts, look->err)
                         : 0;
}

static void look_fini(struct look *look)
{
        json_decref(look->spec);
        json_decref(look->facts);
}

/* look is the caller's to release, also on failure. */
static int look_at(struct container *container, struct arena *arena, struct look *look,
                   struct error *err)
{
        AUTO_FREE char *bundle = container_state_path(container, "bundle");
        AUTO_FREE char *cgroup_path = xstrdup(container->cgroup_path);
        AUTO_FREE char *limits = NULL;
        *look = (struct look){.bundle = bundle, .cgroup_path = cgroup_path, .err = err};
        if (container->phase == CONTAINER_RUNNING && !is_guest(container))
                look->pid = container->pid;
        if (container->resources) {
                struct spec_resources resources;
                container_resources_spec(container, container->resources, arena, &resources);
                int result = spec_resources_build(&resources, &limits, err);
                if (result < 0)
                        return result;
                look->limits = limits;
        }
        look->sysctls = pod_sysctls(container->pod, arena, &look->sysctl_count);
        int result =
                pod_sysctls_to_host(container->pod, arena, look->sysctls, look->sysctl_count, err);
        if (result == 0)
                result = task_offload(look_on_worker, look);
        return result < 0 ? error_context(err, "container %s", container->id) : 0;
}

/* The image's layers as the container's root was mounted of; null where it is not here any more. */
static char *layers_of(const struct container *container)
{
        AUTO_ROOTFS struct rootfs rootfs = ROOTFS_INIT;
        return rootfs_prepare(node.images, container->image_id, &rootfs, NULL) == 0
                       ? xstrdup(rootfs.lower)
                       : NULL;
}

/* ---- inspect ---- */

static const char *state_name(const struct container *container)
{
        switch (container->phase) {
        case CONTAINER_CREATING:
                return "creating";
        case CONTAINER_CREATED:
                return "created";
        case CONTAINER_STARTING:
                return "starting";
        case CONTAINER_RUNNING:
                return "running";
        default:
                return "exited";
        }
}

static bool is_frozen(const json_t *facts)
{
        size_t i;
        json_t *each;
        json_array_foreach (json_object_get(facts, "cgroups"), i, each) {
                const json_t *limits = json_object_get(each, "limits");
                const char *v1 = json_string_value(json_object_get(limits, "freezer.state"));
                const char *v2 = json_string_value(json_object_get(limits, "cgroup.freeze"));
                if ((v1 && strcmp(v1, "THAWED") != 0) || (v2 && strcmp(v2, "1") == 0))
                        return true;
        }
        return false;
}

static json_t *layer_ids(const struct container *container)
{
        json_t *all = json_array();
        const struct image *image = store_find(node.images, container->image_id);
        for (size_t i = 0; image && i < image->layer_count; i++)
                json_array_append_new(all, json_string(image->layers[i]->name));
        return all;
}

static json_t *describe(const struct container *container, const struct look *look)
{
        const struct runtime_handler *handler = container->pod->handler;
        const Runtime__V1__ContainerMetadata *metadata = container_config(container)->metadata;
        json_t *out = json_object();
        json_object_set_new(out, "id", json_string(container->id));
        json_object_set_new(out, "name", json_string(metadata ? metadata->name : ""));
        json_object_set_new(out, "pod", json_string(container->pod->id));
        json_object_set_new(out, "state", json_string(state_name(container)));
        json_object_set_new(out, "paused", json_boolean(is_frozen(look->facts)));
        json_object_set_new(out, "image", json_string(container->image_id));
        json_object_set_new(out, "layers", layer_ids(container));
        json_object_set_new(out, "handler",
                            handler ? json_pack("{s:s, s:s, s:s?}", "name", handler->name, "path",
                                                handler->path, "version", handler->version)
                                    : json_null());
        json_object_set(out, "ociVersion", json_object_get(look->spec, "ociVersion"));
        json_object_set(out, "spec", look->spec);
        if (look->facts)
                json_object_set(out, "kernel", look->facts);
        return out;
}

int container_inspect_handler(struct rpc *rpc, const void *request_, void *response_,
                              struct error *err)
{
        const Crisp__V1__ContainerInspectRequest *request = request_;
        Crisp__V1__ContainerInspectResponse *response = response_;
        AUTO_CONTAINER struct container *container = NULL;
        CLEANUP(look_fini) struct look look = {0};
        int result = find(request->container, &container, err);
        if (result == 0)
                result = look_at(container, rpc->arena, &look, err);
        if (result < 0)
                return result;
        AUTO_JSON json_t *out = describe(container, &look);
        AUTO_FREE char *text = json_text(out);
        response->json = arena_strdup(rpc->arena, text);
        return 0;
}

/* ---- verify ---- */

struct findings {
        struct arena *arena;
        Crisp__V1__Finding **list;
        size_t count;
};

static void take_finding(void *argument, enum verify_verdict verdict, const char *what,
                         const char *text)
{
        struct findings *findings = argument;
        if (findings->count == FINDINGS_MAX)
                return;
        Crisp__V1__Finding *finding = arena_alloc(findings->arena, sizeof *finding);
        crisp__v1__finding__init(finding);
        finding->verdict = verdict == VERIFY_PASS      ? CRISP__V1__FINDING_VERDICT__FINDING_PASS
                           : verdict == VERIFY_WARNING ? CRISP__V1__FINDING_VERDICT__FINDING_WARNING
                                                       : CRISP__V1__FINDING_VERDICT__FINDING_FAIL;
        finding->object = (char *)"";
        finding->what = arena_strdup(findings->arena, what);
        finding->text = arena_strdup(findings->arena, text);
        findings->list[findings->count++] = finding;
}

int container_verify_handler(struct rpc *rpc, const void *request_, void *response_,
                             struct error *err)
{
        const Crisp__V1__ContainerVerifyRequest *request = request_;
        Crisp__V1__ContainerVerifyResponse *response = response_;
        AUTO_CONTAINER struct container *container = NULL;
        CLEANUP(look_fini) struct look look = {0};
        int result = find_running(request->container, &container, err);
        if (result == 0 && is_guest(container))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "container %s: runtime handler %s runs it in a machine of its "
                                 "own, into which the host's kernel does not see",
                                 container->id, container->pod->handler->name);
        if (result == 0)
                result = look_at(container, rpc->arena, &look, err);
        if (result < 0)
                return result;
        AUTO_FREE char *layers = layers_of(container);
        struct findings findings = {
                .arena = rpc->arena,
                .list = arena_array(rpc->arena, FINDINGS_MAX, sizeof *findings.list),
        };
        verify_container(look.spec, look.facts, layers, node.cgroups.mode, take_finding, &findings);
        response->findings = findings.list;
        response->n_findings = findings.count;
        response->id = arena_strdup(rpc->arena, container->id);
        return 0;
}

/* ---- pause ---- */

static int pause_locked(struct container *container, bool pause, struct error *err)
{
        const struct runtime_handler *handler = container->pod->handler;
        int64_t deadline = clock_after(container_runtime_patience(container));
        if (container->phase != CONTAINER_RUNNING)
                return error_set(err, ERROR_FAILED_PRECONDITION, "it does not run");
        if (!handler)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "its pod's runtime handler is not configured any more");
        int result = node_handler_ready(handler->name, &handler, err);
        if (result == 0)
                result = runtime_has(handler,
                                     pause ? RUNTIME_COMMAND_PAUSE : RUNTIME_COMMAND_RESUME, err);
        if (result < 0)
                return result;
        container_step(container, pause ? "pausing it" : "letting it go on");
        result = pause ? runtime_pause(handler, container->id, deadline, err)
                       : runtime_resume(handler, container->id, deadline, err);
        container_step(container, NULL);
        return result;
}

static int pause_or_unpause(const char *name, bool pause, struct error *err)
{
        AUTO_CONTAINER struct container *container = NULL;
        int result = find_running(name, &container, err);
        if (result < 0)
                return result;
        task_lock(&container->lock, CLOCK_NEVER);
        result = pause_locked(container, pause, err);
        task_unlock(&container->lock);
        return result < 0 ? error_context(err, "container %s", container->id) : 0;
}

int container_pause_handler(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        (void)rpc;
        (void)response;
        return pause_or_unpause(((const Crisp__V1__ContainerPauseRequest *)request)->container,
                                true, err);
}

int container_unpause_handler(struct rpc *rpc, const void *request, void *response,
                              struct error *err)
{
        (void)rpc;
        (void)response;
        return pause_or_unpause(((const Crisp__V1__ContainerUnpauseRequest *)request)->container,
                                false, err);
}
