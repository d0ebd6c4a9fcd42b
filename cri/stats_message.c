#include "cri/stats_message.h"

#include <string.h>

#include "cri/stats.h"

static Runtime__V1__UInt64Value *number(struct arena *arena, uint64_t value)
{
        Runtime__V1__UInt64Value *out = arena_alloc(arena, sizeof *out);
        runtime__v1__uint64_value__init(out);
        out->value = value;
        return out;
}

/* ---- pressure ---- */

static Runtime__V1__PsiData *stall(struct arena *arena, const struct cgroup_stall *from)
{
        Runtime__V1__PsiData *data = arena_alloc(arena, sizeof *data);
        runtime__v1__psi_data__init(data);
        data->total = from->total;
        data->avg10 = from->avg10;
        data->avg60 = from->avg60;
        data->avg300 = from->avg300;
        return data;
}

static Runtime__V1__PsiStats *pressure(struct arena *arena, const struct cgroup_pressure *from)
{
        if (!from->known)
                return NULL;
        Runtime__V1__PsiStats *psi = arena_alloc(arena, sizeof *psi);
        runtime__v1__psi_stats__init(psi);
        psi->full = stall(arena, &from->full);
        psi->some = stall(arena, &from->some);
        return psi;
}

/* ---- a cgroup's ---- */

static Runtime__V1__CpuUsage *cpu(struct arena *arena, const struct stats_source *source)
{
        const struct cgroup_stats *stats = &stats_source_last(source)->stats;
        uint64_t nano_cores;
        if (!(stats->parts & CGROUP_PART_CPU))
                return NULL;
        Runtime__V1__CpuUsage *usage = arena_alloc(arena, sizeof *usage);
        runtime__v1__cpu_usage__init(usage);
        usage->timestamp = stats->real;
        usage->usage_core_nano_seconds = number(arena, stats->cpu_usage);
        if (stats_source_rate(source, &nano_cores))
                usage->usage_nano_cores = number(arena, nano_cores);
        usage->psi = pressure(arena, &stats->cpu_pressure);
        return usage;
}

static Runtime__V1__MemoryUsage *memory(struct arena *arena, const struct cgroup_stats *stats)
{
        if (!(stats->parts & CGROUP_PART_MEMORY))
                return NULL;
        uint64_t working_set = cgroup_working_set(stats);
        Runtime__V1__MemoryUsage *usage = arena_alloc(arena, sizeof *usage);
        runtime__v1__memory_usage__init(usage);
        usage->timestamp = stats->real;
        usage->working_set_bytes = number(arena, working_set);
        /* Without a limit there is no such number: the node's memory is everybody's. */
        if (stats->memory_limit != CGROUP_UNLIMITED)
                usage->available_bytes = number(arena, stats->memory_limit > working_set
                                                               ? stats->memory_limit - working_set
                                                               : 0);
        usage->usage_bytes = number(arena, stats->memory_usage);
        usage->rss_bytes = number(arena, stats->memory_rss);
        usage->page_faults = number(arena, stats->page_faults);
        usage->major_page_faults = number(arena, stats->major_page_faults);
        usage->psi = pressure(arena, &stats->memory_pressure);
        return usage;
}

static Runtime__V1__SwapUsage *swap(struct arena *arena, const struct cgroup_stats *stats)
{
        if (!(stats->parts & CGROUP_PART_MEMORY) || !stats->swap_known)
                return NULL;
        Runtime__V1__SwapUsage *usage = arena_alloc(arena, sizeof *usage);
        runtime__v1__swap_usage__init(usage);
        usage->timestamp = stats->real;
        usage->swap_usage_bytes = number(arena, stats->swap_usage);
        if (stats->swap_limit != CGROUP_UNLIMITED)
                usage->swap_available_bytes =
                        number(arena, stats->swap_limit > stats->swap_usage
                                              ? stats->swap_limit - stats->swap_usage
                                              : 0);
        return usage;
}

static Runtime__V1__IoUsage *io(struct arena *arena, const struct cgroup_stats *stats)
{
        if (!stats->io_pressure.known)
                return NULL;
        Runtime__V1__IoUsage *usage = arena_alloc(arena, sizeof *usage);
        runtime__v1__io_usage__init(usage);
        usage->timestamp = stats->real;
        usage->psi = pressure(arena, &stats->io_pressure);
        return usage;
}

/* ---- a container's ---- */

static Runtime__V1__FilesystemUsage *writable_layer(const struct container *container,
                                                    struct arena *arena)
{
        if (!container->usage.known)
                return NULL;
        Runtime__V1__FilesystemUsage *usage = arena_alloc(arena, sizeof *usage);
        runtime__v1__filesystem_usage__init(usage);
        usage->timestamp = container->usage.timestamp;
        usage->fs_id = arena_alloc(arena, sizeof *usage->fs_id);
        runtime__v1__filesystem_identifier__init(usage->fs_id);
        usage->fs_id->mountpoint = node.containers_dir;
        usage->used_bytes = number(arena, container->usage.bytes);
        usage->inodes_used = number(arena, container->usage.inodes);
        return usage;
}

Runtime__V1__ContainerStats *stats_message_container(const struct container *container,
                                                     struct arena *arena)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        Runtime__V1__ContainerStats *stats = arena_alloc(arena, sizeof *stats);
        Runtime__V1__ContainerAttributes *attributes = arena_alloc(arena, sizeof *attributes);
        runtime__v1__container_attributes__init(attributes);
        attributes->id = (char *)container->id;
        attributes->metadata = config->metadata;
        attributes->n_labels = config->n_labels;
        attributes->labels = (Runtime__V1__ContainerAttributes__LabelsEntry **)config->labels;
        attributes->n_annotations = config->n_annotations;
        attributes->annotations =
                (Runtime__V1__ContainerAttributes__AnnotationsEntry **)config->annotations;
        runtime__v1__container_stats__init(stats);
        stats->attributes = attributes;
        stats->writable_layer = writable_layer(container, arena);
        const struct stats_reading *last =
                container->stats ? stats_source_last(container->stats) : NULL;
        if (last) {
                stats->cpu = cpu(arena, container->stats);
                stats->memory = memory(arena, &last->stats);
                stats->swap = swap(arena, &last->stats);
                stats->io = io(arena, &last->stats);
        }
        return stats;
}

/* ---- a pod's ---- */

static Runtime__V1__NetworkInterfaceUsage *interface(struct arena *arena,
                                                     const struct interface_stats *from)
{
        Runtime__V1__NetworkInterfaceUsage *usage = arena_alloc(arena, sizeof *usage);
        runtime__v1__network_interface_usage__init(usage);
        usage->name = arena_strdup(arena, from->name);
        usage->rx_bytes = number(arena, from->rx_bytes);
        usage->rx_errors = number(arena, from->rx_errors);
        usage->tx_bytes = number(arena, from->tx_bytes);
        usage->tx_errors = number(arena, from->tx_errors);
        return usage;
}

static Runtime__V1__NetworkUsage *network(struct arena *arena, const struct stats_reading *reading)
{
        if (!reading || !reading->interfaces_known)
                return NULL;
        Runtime__V1__NetworkUsage *usage = arena_alloc(arena, sizeof *usage);
        runtime__v1__network_usage__init(usage);
        usage->timestamp = reading->stats.real;
        usage->interfaces =
                arena_array(arena, reading->interface_count + 1, sizeof *usage->interfaces);
        for (size_t i = 0; i < reading->interface_count; i++) {
                const struct interface_stats *each = &reading->interfaces[i];
                if (strcmp(each->name, NETWORK_INTERFACE) == 0)
                        usage->default_interface = interface(arena, each);
                else if (!each->loopback)
                        usage->interfaces[usage->n_interfaces++] = interface(arena, each);
        }
        return usage;
}

static Runtime__V1__ProcessUsage *processes(struct arena *arena, int64_t timestamp, uint64_t count)
{
        Runtime__V1__ProcessUsage *usage = arena_alloc(arena, sizeof *usage);
        runtime__v1__process_usage__init(usage);
        usage->timestamp = timestamp;
        usage->process_count = number(arena, count);
        return usage;
}

static void add_to(Runtime__V1__UInt64Value **total, const Runtime__V1__UInt64Value *value,
                   struct arena *arena)
{
        if (!value)
                return;
        if (!*total)
                *total = number(arena, 0);
        (*total)->value += value->value;
}

static void add_cpu(Runtime__V1__LinuxPodSandboxStats *pod, const Runtime__V1__CpuUsage *from,
                    struct arena *arena)
{
        if (!from)
                return;
        if (!pod->cpu) {
                pod->cpu = arena_alloc(arena, sizeof *pod->cpu);
                runtime__v1__cpu_usage__init(pod->cpu);
                pod->cpu->timestamp = from->timestamp;
        }
        add_to(&pod->cpu->usage_core_nano_seconds, from->usage_core_nano_seconds, arena);
        add_to(&pod->cpu->usage_nano_cores, from->usage_nano_cores, arena);
}

static void add_memory(Runtime__V1__LinuxPodSandboxStats *pod, const Runtime__V1__MemoryUsage *from,
                       struct arena *arena)
{
        if (!from)
                return;
        if (!pod->memory) {
                pod->memory = arena_alloc(arena, sizeof *pod->memory);
                runtime__v1__memory_usage__init(pod->memory);
                pod->memory->timestamp = from->timestamp;
        }
        add_to(&pod->memory->working_set_bytes, from->working_set_bytes, arena);
        add_to(&pod->memory->usage_bytes, from->usage_bytes, arena);
        add_to(&pod->memory->rss_bytes, from->rss_bytes, arena);
        add_to(&pod->memory->page_faults, from->page_faults, arena);
        add_to(&pod->memory->major_page_faults, from->major_page_faults, arena);
}

/* Where the pod has no cgroup of its own: what its running containers use together. */
static void add_up(Runtime__V1__LinuxPodSandboxStats *out, const struct pod *pod,
                   struct arena *arena)
{
        uint64_t pids = 0;
        int64_t timestamp = 0;
        for (size_t i = 0; i < out->n_containers; i++) {
                add_cpu(out, out->containers[i]->cpu, arena);
                add_memory(out, out->containers[i]->memory, arena);
        }
        for (const struct container *each = pod->containers; each; each = each->next) {
                const struct stats_reading *last =
                        each->stats ? stats_source_last(each->stats) : NULL;
                if (!last || !(last->stats.parts & CGROUP_PART_PIDS))
                        continue;
                pids += last->stats.pids;
                timestamp = last->stats.real;
        }
        if (timestamp)
                out->process = processes(arena, timestamp, pids);
}

static void tell_cgroup(Runtime__V1__LinuxPodSandboxStats *out, const struct stats_source *source,
                        struct arena *arena)
{
        const struct cgroup_stats *stats = &stats_source_last(source)->stats;
        out->cpu = cpu(arena, source);
        out->memory = memory(arena, stats);
        out->io = io(arena, stats);
        if (stats->parts & CGROUP_PART_PIDS)
                out->process = processes(arena, stats->real, stats->pids);
}

Runtime__V1__PodSandboxStats *stats_message_pod(const struct pod *pod, struct arena *arena)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        Runtime__V1__PodSandboxStats *stats = arena_alloc(arena, sizeof *stats);
        Runtime__V1__PodSandboxAttributes *attributes = arena_alloc(arena, sizeof *attributes);
        Runtime__V1__LinuxPodSandboxStats *out = arena_alloc(arena, sizeof *out);
        runtime__v1__pod_sandbox_attributes__init(attributes);
        attributes->id = (char *)pod->id;
        attributes->metadata = config->metadata;
        attributes->n_labels = config->n_labels;
        attributes->labels = (Runtime__V1__PodSandboxAttributes__LabelsEntry **)config->labels;
        attributes->n_annotations = config->n_annotations;
        attributes->annotations =
                (Runtime__V1__PodSandboxAttributes__AnnotationsEntry **)config->annotations;
        runtime__v1__pod_sandbox_stats__init(stats);
        stats->attributes = attributes;
        runtime__v1__linux_pod_sandbox_stats__init(out);
        stats->linux = out;
        if (!stats_pod_is_asked(pod))
                return stats;

        size_t count = 0;
        for (struct container *each = pod->containers; each; each = each->next)
                count++;
        out->containers = arena_array(arena, count + 1, sizeof *out->containers);
        for (struct container *each = pod->containers; each; each = each->next)
                if (each->phase == CONTAINER_RUNNING)
                        out->containers[out->n_containers++] = stats_message_container(each, arena);
        const struct stats_reading *last = pod->stats ? stats_source_last(pod->stats) : NULL;
        if (last)
                out->network = network(arena, last);
        if (last && last->stats.parts && stats_pod_has_cgroup(pod))
                tell_cgroup(out, pod->stats, arena);
        else
                add_up(out, pod, arena);
        return stats;
}
