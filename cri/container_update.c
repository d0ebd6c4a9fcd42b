/* UpdateContainerResources: other limits for a container that runs, or is about to. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cri/container_resources.h"
#include "oci/cpu_isolation.h"
#include "oci/hugepages.h"
#include "oci/oom_score.h"

struct update {
        struct container *container;
        struct arena *arena;
        resources_message *wanted; /* the whole, in the arena */
        struct spec_resources limits;
        char *json; /* of the limits, for the runtime; heap */
        struct error *err;
};

/* ---- what is done on a worker ---- */

/* Below what is used now the kernel would kill for it, or refuse it half way. */
static int check_usage_on_worker(void *argument)
{
        struct update *update = argument;
        const struct container *container = update->container;
        int64_t limit = update->wanted->memory_limit_in_bytes, usage = 0;
        if (limit <= 0 || limit == container->resources->memory_limit_in_bytes)
                return 0;
        struct error ignored;
        if (cgroup_memory_usage(&node.cgroups, container->cgroup_path, &usage, &ignored) < 0)
                return 0; /* nothing counts it, or the container has just ended */
        if (limit >= usage)
                return 0;
        return error_set(update->err, ERROR_FAILED_PRECONDITION,
                         "linux.memory_limit_in_bytes: %lld is below what the container uses now, "
                         "%lld bytes",
                         (long long)limit, (long long)usage);
}

/* What the runtimes' update leaves out: limits of huge pages, and the OOM score. */
static int finish_on_worker(void *argument)
{
        struct update *update = argument;
        const struct container *container = update->container;
        int from = (int)container->resources->oom_score_adj;
        int to = (int)update->wanted->oom_score_adj;
        int result =
                hugepages_limit(&node.cgroups, container->cgroup_path, update->limits.hugepages,
                                update->limits.hugepage_count, update->err);
        if (result == 0 && update->wanted->cpu_quota < 0 && update->limits.cpu_quota == 0)
                result = cpu_isolation_lift_quota(&node.cgroups, container->cgroup_path,
                                                  update->err);
        if (result == 0 && from != to)
                result = oom_score_change(&node.cgroups, container->cgroup_path, from, to,
                                          update->err);
        return result;
}

/* ---- a running container ---- */

static int call_runtime(struct container *container, const char *json, struct error *err)
{
        int64_t deadline = clock_after(container_runtime_patience(container));
        if (!container->pod->handler)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "its pod's runtime handler is not configured any more");
        return runtime_update(container->pod->handler, container->id, json, deadline, err);
}

/* A runtime that fails may have set a part of it: what the status tells is put back. */
static void roll_back(struct container *container)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_FREE char *json = NULL;
        struct spec_resources limits;
        struct error err;
        if (container->phase != CONTAINER_RUNNING)
                return;
        container_resources_spec(container, container->resources, arena, &limits);
        if (spec_resources_build(&limits, &json, &err) < 0 ||
            call_runtime(container, json, &err) < 0)
                log_failure(&err, "the limits from before a failed update could not be put back",
                            "container", container->id, NULL);
}

static void save(struct container *container)
{
        struct error err;
        if (container_save_run(container, &err) < 0)
                log_failure(&err, "the container's record is not up to date", "container",
                            container->id, NULL);
        container_save_later(container);
}

/* Takes over what is in effect now; the arena becomes the container's. */
static void take_over(struct update *update)
{
        update->container->resources_wanted = NULL;
        container_resources_set(update->container, take_ptr(update->arena), update->wanted);
}

static int update_running(struct update *update)
{
        struct container *container = update->container;
        container_step(container, "checking what it uses");
        int result = task_offload(check_usage_on_worker, update);
        if (result == 0)
                result = spec_resources_build(&update->limits, &update->json, update->err);
        if (result < 0)
                return result;
        /* The intent: a daemon that finds it does the same again. */
        container->resources_wanted = update->wanted;
        result = container_save_run(container, update->err);
        if (result == 0) {
                container_step(container, "changing its limits with the runtime");
                result = call_runtime(container, update->json, update->err);
                if (result == 0)
                        result = task_offload(finish_on_worker, update);
                if (result < 0)
                        roll_back(container);
                container_tell_systemd(container);
        }
        if (result == 0)
                take_over(update);
        container->resources_wanted = NULL;
        save(container);
        return result;
}

/* ---- one that was not started: its bundle is changed when it is ---- */

static int update_created(struct update *update)
{
        struct container *container = update->container;
        struct arena *old_arena = take_ptr(container->resources_arena);
        resources_message *old = container->resources;
        bool was_outdated = container->bundle_outdated;
        container->bundle_outdated = true;
        container->resources = update->wanted;
        container_step(container, "writing the record");
        int result = container_save(container, true, update->err);
        if (result < 0) {
                container->resources_arena = old_arena;
                container->resources = old;
                container->bundle_outdated = was_outdated;
                return result;
        }
        container->resources_arena = take_ptr(update->arena);
        arena_free(old_arena);
        return 0;
}

/* ---- the call ---- */

static int update_locked(struct update *update, const resources_message *change)
{
        struct container *container = update->container;
        if (container->phase != CONTAINER_CREATED && container->phase != CONTAINER_RUNNING)
                return error_set(update->err, ERROR_FAILED_PRECONDITION,
                                 "container %s has ended: its limits cannot be changed any more",
                                 container->id);
        update->wanted = resources_merge(update->arena, container->resources, change);
        int result = resources_validate(update->wanted, "linux", update->err);
        if (result < 0)
                return result;
        container_resources_settle(update->wanted);
        container_resources_spec(container, update->wanted, update->arena, &update->limits);
        return container->phase == CONTAINER_RUNNING ? update_running(update)
                                                     : update_created(update);
}

static int update_container(struct container *container, const resources_message *change,
                            struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct update update = {.container = container, .arena = arena, .err = err};
        task_lock(&container->lock, CLOCK_NEVER);
        int result = update_locked(&update, change);
        container_step(container, NULL);
        task_unlock(&container->lock);
        free(update.json);
        arena = update.arena; /* null where the container has taken it */
        return result;
}

int container_update_handler(struct rpc *rpc, const void *request_, void *response,
                             struct error *err)
{
        const Runtime__V1__UpdateContainerResourcesRequest *request = request_;
        AUTO_CONTAINER struct container *container = NULL;
        (void)rpc;
        (void)response;
        if (request->windows)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "windows: Windows containers are not supported");
        int result = container_find(request->container_id, &container, err);
        if (result < 0 || !request->linux)
                return result;
        result = resources_validate(request->linux, "linux", err);
        if (result == 0)
                result = container_resources_check(request->linux, "linux", err);
        if (result == 0)
                result = update_container(container, request->linux, err);
        return result < 0 ? error_context(err, "update container %s",
                                          container_config(container)->metadata->name)
                          : 0;
}

/* ---- after a crash ---- */

static void resume_task(void *argument)
{
        AUTO_CONTAINER struct container *container = argument;
        AUTO_ARENA struct arena *arena = arena_new();
        struct error err;
        resources_message *wanted = resources_copy(arena, container->resources_wanted);
        if (container->phase == CONTAINER_RUNNING && container->resources_wanted &&
            update_container(container, wanted, &err) < 0)
                log_failure(&err, "an update that a crash cut off could not be ended", "container",
                            container->id, NULL);
        /* Refused once, it is refused at the next start, too. */
        container->resources_wanted = NULL;
}

void container_update_resume(struct container *container)
{
        if (container->resources_wanted && container->phase == CONTAINER_RUNNING)
                task_start("resume update", resume_task, container_ref(container));
}
