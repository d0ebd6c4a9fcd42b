/* The cgroup limits of a container's specification. */
#include "cri/container_spec.h"

#include <unistd.h>

#include "base/memory.h"

/* The kubelet sends these limits unasked, also where the kernel has no hugetlb controller: then
 * there is nothing to limit. */
static void set_hugepages(struct container_spec *draft,
                          const Runtime__V1__LinuxContainerResources *wanted)
{
        AUTO_FREE char *probe = cgroup_file(&node.cgroups, "/", "hugetlb", "cgroup.procs");
        if (!probe || access(probe, F_OK) < 0)
                return;
        struct spec_hugepage *pages =
                arena_array(draft->arena, wanted->n_hugepage_limits, sizeof *pages);
        for (size_t i = 0; i < wanted->n_hugepage_limits; i++)
                pages[i] = (struct spec_hugepage){.size = wanted->hugepage_limits[i]->page_size,
                                                  .limit = wanted->hugepage_limits[i]->limit};
        draft->spec.resources.hugepages = pages;
        draft->spec.resources.hugepage_count = wanted->n_hugepage_limits;
}

void container_spec_resources(struct container_spec *draft)
{
        const Runtime__V1__LinuxContainerResources *wanted =
                draft->config->linux ? draft->config->linux->resources : NULL;
        if (!wanted)
                return;
        struct spec_resources *resources = &draft->spec.resources;
        resources->cpu_shares = wanted->cpu_shares > 0 ? (uint64_t)wanted->cpu_shares : 0;
        resources->cpu_quota = wanted->cpu_quota;
        resources->cpu_period = wanted->cpu_period > 0 ? (uint64_t)wanted->cpu_period : 0;
        resources->cpuset_cpus = wanted->cpuset_cpus;
        resources->cpuset_mems = wanted->cpuset_mems;
        resources->memory_limit = wanted->memory_limit_in_bytes;
        resources->memory_swap = wanted->memory_swap_limit_in_bytes;
        struct spec_pair *unified = arena_array(draft->arena, wanted->n_unified, sizeof *unified);
        for (size_t i = 0; i < wanted->n_unified; i++)
                unified[i] = (struct spec_pair){wanted->unified[i]->key, wanted->unified[i]->value};
        resources->unified = unified;
        resources->unified_count = wanted->n_unified;
        draft->spec.has_oom_score_adj = true;
        draft->spec.oom_score_adj = (int)wanted->oom_score_adj;
        set_hugepages(draft, wanted);
}
