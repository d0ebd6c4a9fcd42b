#include "cri/container_resources.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/tuning.h"
#include "cri/workload.h"
#include "oci/hugepages.h"
#include "oci/oom_score.h"

void container_resources_set(struct container *container, struct arena *arena,
                             resources_message *resources)
{
        arena_free(container->resources_arena);
        container->resources_arena = arena;
        container->resources = resources;
}

int container_resources_check(const resources_message *resources, const char *field,
                              struct error *err)
{
        for (size_t i = 0; i < resources->n_hugepage_limits; i++)
                if (!hugepages_known(HUGEPAGES_ROOT, resources->hugepage_limits[i]->page_size))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s.hugepage_limits: this machine has no pages of "
                                         "\"%.100s\" (" HUGEPAGES_ROOT ")",
                                         field, resources->hugepage_limits[i]->page_size);
        if (resources->n_unified && node.cgroups.mode != CGROUP_MODE_V2)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s.unified: \"%.100s\" is a file of cgroup v2, and this machine "
                                 "has v1",
                                 field, resources->unified[0]->key);
        return 0;
}

void container_resources_settle(resources_message *resources)
{
        static bool told;
        /* No swap, unless it was asked for: a limit of memory alone would let as much again go
         * there. */
        if (resources->memory_limit_in_bytes > 0 && !resources->memory_swap_limit_in_bytes)
                resources->memory_swap_limit_in_bytes = resources->memory_limit_in_bytes;
        if (!node.cgroups.swap)
                resources->memory_swap_limit_in_bytes = 0;
        int allowed = oom_score_allowed((int)resources->oom_score_adj);
        if (allowed == resources->oom_score_adj)
                return;
        if (!told)
                log_warning("this daemon may not lower oom_score_adj below its own: containers "
                            "that ask for less get that",
                            NULL);
        told = true;
        resources->oom_score_adj = allowed;
}

/* Below this the runtime's own process is killed while it makes the container. */
static int check_memory(const struct container *container, const resources_message *resources,
                        struct error *err)
{
        const struct runtime_handler *handler = container->pod->handler;
        const struct config_handler *config =
                handler ? config_handler_find(node.config, handler->name) : NULL;
        int64_t least = config ? (int64_t)config->container_min_memory_kib << 10 : 0;
        if (resources->memory_limit_in_bytes <= 0 || resources->memory_limit_in_bytes >= least)
                return 0;
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "config.linux.resources.memory_limit_in_bytes: %lld is less than the %lld "
                         "that a container of handler %s needs "
                         "(runtime.handlers.%s.container_min_memory_kib)",
                         (long long)resources->memory_limit_in_bytes, (long long)least,
                         handler->name, handler->name);
}

/* Whether a value in base64 was meant: many a plain number ("33554432") is base64 as well, but of
 * no text. */
static bool is_text(const unsigned char *bytes, size_t length)
{
        for (size_t i = 0; i < length; i++)
                if (bytes[i] < ' ' || bytes[i] > '~')
                        return false;
        return length > 0;
}

/* "memory.high=1000;memory.min=MTAw": a value may be in base64, for those that hold a semicolon. */
static int add_unified(const struct container *container, struct arena *arena,
                       resources_message *resources, struct error *err)
{
        static const char name[] = "unified-cgroup.crio.io";
        const char *value = annotation_of_container(container, name);
        char *state = NULL;
        if (!value)
                return 0;
        for (char *entry = strtok_r(arena_strdup(arena, value), ";", &state); entry;
             entry = strtok_r(NULL, ";", &state)) {
                char *equals = strchr(entry, '=');
                if (!equals)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "annotation %s: \"%.100s\" is not FILE=VALUE", name,
                                         entry);
                *equals++ = '\0';
                size_t length = 0;
                AUTO_FREE unsigned char *decoded = base64_decode(equals, strlen(equals), &length);
                bool text = decoded && is_text(decoded, length);
                resources_set_unified(arena, resources, entry,
                                      text ? arena_strdup(arena, (char *)decoded) : equals);
        }
        return 0;
}

int container_resources_choose(struct container *container, struct error *err)
{
        static const char field[] = "config.linux.resources";
        const Runtime__V1__LinuxContainerConfig *config = container_config(container)->linux;
        AUTO_ARENA struct arena *arena = arena_new();
        resources_message *resources = resources_copy(arena, config ? config->resources : NULL);
        const struct config_workload *workload = workload_of(node.config, container->pod);
        int result = workload ? workload_apply(workload, container, arena, resources, err) : 0;
        if (result == 0)
                result = add_unified(container, arena, resources, err);
        /* What annotations brought in is checked as what the request said. */
        if (result == 0)
                result = resources_validate(resources, field, err);
        if (result == 0)
                result = container_resources_check(resources, field, err);
        if (result == 0)
                result = check_memory(container, resources, err);
        if (result < 0)
                return result;
        container_resources_settle(resources);
        /* Beside the request: most containers keep what they begin with. */
        container->resources = resources_copy(container->arena, resources);
        struct tuning ignored;
        return tuning_read(container, &ignored, err);
}

void container_resources_spec(const struct container *container, const resources_message *resources,
                              struct arena *arena, struct spec_resources *spec)
{
        struct tuning tuning;
        resources_to_spec(arena, resources, spec);
        /* Its annotations were looked at when it was created, and do not change. */
        if (tuning_read(container, &tuning, NULL) == 0)
                tuning_change_spec(&tuning, arena, spec);
        /* The kubelet sends these limits unasked, also where the kernel has no hugetlb controller:
         * then there is nothing to limit. */
        if (!cgroup_has(&node.cgroups, "hugetlb"))
                spec->hugepage_count = 0;
        spec->pids_limit = node.config->runtime.pids_limit;
        /* A new cgroup has none; one that had is changed by container_update. */
        if (spec->cpu_quota < 0 && container->pod->handler &&
            container->pod->handler->no_negative_quota && node.cgroups.mode != CGROUP_MODE_V2)
                spec->cpu_quota = 0;
}
