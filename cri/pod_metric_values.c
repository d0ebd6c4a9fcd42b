#include "cri/pod_metric_values.h"

#include <assert.h>
#include <string.h>

#include "cri/pod_metric_table.h"
#include "cri/stats.h"

#define FIRST_CAPACITY 64
#define USEC_PER_SEC   1000000

/* The container's name that what belongs to the whole pod has in dashboards. */
#define POD_CONTAINER "POD"

struct sink {
        struct arena *arena;
        unsigned groups;
        int64_t timestamp;
        char *base[POD_METRIC_BASE_LABELS];
        struct pod_metric_list *list;
        size_t capacity;
};

static void make_room(struct sink *sink)
{
        if (sink->list->count < sink->capacity)
                return;
        size_t capacity = sink->capacity ? 2 * sink->capacity : FIRST_CAPACITY;
        Runtime__V1__Metric **bigger = arena_array(sink->arena, capacity, sizeof(*bigger));
        if (sink->list->count)
                memcpy(bigger, sink->list->metrics, sink->list->count * sizeof(*bigger));
        sink->list->metrics = bigger;
        sink->capacity = capacity;
}

/* One value, with the values of the metric's own labels, count of them; in the arena or constant.
 */
static void add_labelled(struct sink *sink, enum pod_metric_id id, uint64_t value,
                         const char *const *labels, size_t count)
{
        const struct pod_metric *from = &pod_metric_table[id];
        assert(count == pod_metric_label_count(id));
        if (!(sink->groups & 1u << from->group))
                return;
        Runtime__V1__Metric *metric = arena_alloc(sink->arena, sizeof *metric);
        runtime__v1__metric__init(metric);
        metric->name = (char *)from->name;
        metric->timestamp = sink->timestamp;
        metric->metric_type =
                from->counter ? RUNTIME__V1__METRIC_TYPE__COUNTER : RUNTIME__V1__METRIC_TYPE__GAUGE;
        metric->n_label_values = POD_METRIC_BASE_LABELS + count;
        metric->label_values =
                arena_array(sink->arena, metric->n_label_values, sizeof(*metric->label_values));
        memcpy(metric->label_values, sink->base, sizeof sink->base);
        for (size_t i = 0; i < count; i++)
                metric->label_values[POD_METRIC_BASE_LABELS + i] = (char *)labels[i];
        metric->value = arena_alloc(sink->arena, sizeof *metric->value);
        runtime__v1__uint64_value__init(metric->value);
        metric->value->value = value;
        make_room(sink);
        sink->list->metrics[sink->list->count++] = metric;
}

static void add(struct sink *sink, enum pod_metric_id id, uint64_t value)
{
        add_labelled(sink, id, value, NULL, 0);
}

static void add_with(struct sink *sink, enum pod_metric_id id, uint64_t value, const char *label)
{
        add_labelled(sink, id, value, &label, 1);
}

/* What has no limit is told as 0, as cAdvisor does. */
static uint64_t limit(uint64_t value)
{
        return value == CGROUP_UNLIMITED ? 0 : value;
}

/* ---- a cgroup's ---- */

static void add_cpu(struct sink *sink, const struct cgroup_stats *stats,
                    const struct cgroup_detail *detail)
{
        if (!(stats->parts & CGROUP_PART_CPU))
                return;
        add_with(sink, METRIC_CPU_USAGE, stats->cpu_usage / NSEC_PER_SEC, "total");
        if (!detail)
                return;
        add(sink, METRIC_CPU_USER, detail->cpu_user / NSEC_PER_SEC);
        add(sink, METRIC_CPU_SYSTEM, detail->cpu_system / NSEC_PER_SEC);
        add(sink, METRIC_CPU_PERIODS, detail->periods);
        add(sink, METRIC_CPU_THROTTLED_PERIODS, detail->throttled_periods);
        add(sink, METRIC_CPU_THROTTLED, detail->throttled / NSEC_PER_SEC);
}

static void add_faults(struct sink *sink, const struct cgroup_stats *stats)
{
        static const char *const scopes[] = {"container", "hierarchy"};
        for (size_t i = 0; i < 2; i++) {
                const char *minor[] = {"pgfault", scopes[i]};
                const char *major[] = {"pgmajfault", scopes[i]};
                add_labelled(sink, METRIC_MEMORY_FAULTS, stats->page_faults, minor, 2);
                add_labelled(sink, METRIC_MEMORY_FAULTS, stats->major_page_faults, major, 2);
        }
}

static void add_memory(struct sink *sink, const struct cgroup_stats *stats,
                       const struct cgroup_detail *detail)
{
        if (!(stats->parts & CGROUP_PART_MEMORY))
                return;
        add(sink, METRIC_MEMORY_CACHE, stats->memory_cache);
        add(sink, METRIC_MEMORY_RSS, stats->memory_rss);
        add(sink, METRIC_MEMORY_KERNEL, stats->memory_kernel);
        add(sink, METRIC_MEMORY_MAPPED_FILE, stats->memory_mapped_file);
        add(sink, METRIC_MEMORY_SWAP, stats->swap_usage);
        add(sink, METRIC_MEMORY_USAGE, stats->memory_usage);
        add(sink, METRIC_MEMORY_WORKING_SET, cgroup_working_set(stats));
        add(sink, METRIC_MEMORY_ACTIVE_FILE, stats->memory_active_file);
        add(sink, METRIC_MEMORY_INACTIVE_FILE, stats->memory_inactive_file);
        add_faults(sink, stats);
        if (!detail)
                return;
        add(sink, METRIC_MEMORY_FAILURES, detail->memory_failures);
        add(sink, METRIC_MEMORY_USAGE_MAX, detail->memory_usage_max);
        add(sink, METRIC_OOM_EVENTS, detail->oom_kills);
}

static void add_devices(struct sink *sink, const struct cgroup_detail *detail)
{
        for (size_t i = 0; i < detail->device_count; i++) {
                const struct cgroup_device *device = &detail->devices[i];
                char *major = arena_printf(sink->arena, "%u", device->major);
                char *minor = arena_printf(sink->arena, "%u", device->minor);
                char *name = arena_printf(sink->arena, "%s:%s", major, minor);
                const char *reads[] = {name, major, minor, "read"};
                const char *writes[] = {name, major, minor, "write"};
                add_with(sink, METRIC_FS_READ_BYTES, device->read_bytes, name);
                add_with(sink, METRIC_FS_READS, device->reads, name);
                add_with(sink, METRIC_FS_WRITE_BYTES, device->write_bytes, name);
                add_with(sink, METRIC_FS_WRITES, device->writes, name);
                add_labelled(sink, METRIC_BLKIO_USAGE, device->read_bytes, reads, 4);
                add_labelled(sink, METRIC_BLKIO_USAGE, device->write_bytes, writes, 4);
        }
}

static void add_pages(struct sink *sink, const struct cgroup_detail *detail)
{
        for (size_t i = 0; i < detail->page_size_count; i++) {
                const struct cgroup_pages *pages = &detail->pages[i];
                char *size = arena_strdup(sink->arena, pages->size);
                add_with(sink, METRIC_HUGETLB_USAGE, pages->usage, size);
                add_with(sink, METRIC_HUGETLB_USAGE_MAX, pages->usage_max, size);
                add_with(sink, METRIC_HUGETLB_FAILURES, pages->failures, size);
        }
}

static void add_pressure(struct sink *sink, const struct cgroup_pressure *pressure,
                         enum pod_metric_id stalled, enum pod_metric_id waiting)
{
        if (!pressure->known)
                return;
        add(sink, stalled, pressure->full.total / USEC_PER_SEC);
        add(sink, waiting, pressure->some.total / USEC_PER_SEC);
}

static void add_cgroup(struct sink *sink, const struct cgroup_stats *stats,
                       const struct cgroup_detail *detail)
{
        add_cpu(sink, stats, detail);
        add_memory(sink, stats, detail);
        if (detail) {
                add_devices(sink, detail);
                add_pages(sink, detail);
        }
        add_pressure(sink, &stats->cpu_pressure, METRIC_PRESSURE_CPU_STALLED,
                     METRIC_PRESSURE_CPU_WAITING);
        add_pressure(sink, &stats->memory_pressure, METRIC_PRESSURE_MEMORY_STALLED,
                     METRIC_PRESSURE_MEMORY_WAITING);
        add_pressure(sink, &stats->io_pressure, METRIC_PRESSURE_IO_STALLED,
                     METRIC_PRESSURE_IO_WAITING);
}

/* ---- a container's ---- */

static void add_disk(struct sink *sink, const struct container *container,
                     const struct container_usage_total *disk)
{
        if (container->usage.known || container->usage.begun)
                add(sink, METRIC_FS_USAGE, container->usage.bytes);
        if (!disk->fs_bytes)
                return;
        add(sink, METRIC_FS_LIMIT, disk->fs_bytes);
        add(sink, METRIC_FS_INODES_TOTAL, disk->fs_inodes);
        add(sink, METRIC_FS_INODES_FREE, disk->fs_inodes_free);
}

static void add_processes(struct sink *sink, const struct cgroup_stats *stats,
                          const struct process_stats *processes)
{
        if (stats->parts & CGROUP_PART_PIDS) {
                add(sink, METRIC_THREADS, stats->pids);
                add(sink, METRIC_THREADS_MAX, limit(stats->pids_limit));
        }
        if (!processes->known)
                return;
        add(sink, METRIC_PROCESSES, processes->processes);
        add(sink, METRIC_FILE_DESCRIPTORS, processes->descriptors);
        add(sink, METRIC_SOCKETS, processes->sockets);
        if (processes->open_files_known)
                add_with(sink, METRIC_ULIMITS, processes->open_files_soft, "max_open_files");
}

static void add_spec(struct sink *sink, const struct container *container,
                     const struct cgroup_stats *stats, const struct cgroup_detail *detail)
{
        add(sink, METRIC_START_TIME, (uint64_t)(container->started_at / NSEC_PER_SEC));
        if (stats->parts & CGROUP_PART_MEMORY) {
                add(sink, METRIC_SPEC_MEMORY_LIMIT, limit(stats->memory_limit));
                add(sink, METRIC_SPEC_MEMORY_SWAP, limit(stats->swap_limit));
        }
        if (!detail)
                return;
        add(sink, METRIC_SPEC_CPU_PERIOD, detail->cpu_period);
        add(sink, METRIC_SPEC_CPU_SHARES, detail->cpu_shares);
        if (detail->cpu_quota != CGROUP_UNLIMITED)
                add(sink, METRIC_SPEC_CPU_QUOTA, detail->cpu_quota);
        add(sink, METRIC_SPEC_MEMORY_RESERVATION, limit(detail->memory_reservation));
}

static void begin(struct sink *sink, const struct pod *pod, const char *id, const char *image,
                  const char *container)
{
        const Runtime__V1__PodSandboxMetadata *metadata = pod_config(pod)->metadata;
        sink->base[0] = (char *)id;
        sink->base[1] = (char *)image;
        sink->base[2] = metadata->namespace_;
        sink->base[3] = metadata->name;
        sink->base[4] = (char *)container;
}

void pod_metric_values_container(const struct container *container, unsigned groups,
                                 const struct container_usage_total *disk, struct arena *arena,
                                 struct pod_metric_list *list)
{
        struct sink sink = {
                .arena = arena, .groups = groups, .timestamp = clock_real(), .list = list};
        const struct stats_reading *last =
                container->stats ? stats_source_last(container->stats) : NULL;
        *list = (struct pod_metric_list){0};
        begin(&sink, container->pod, container->id, container->image_name,
              container_config(container)->metadata->name);
        add(&sink, METRIC_LAST_SEEN, (uint64_t)(sink.timestamp / NSEC_PER_SEC));
        add_disk(&sink, container, disk);
        if (!last)
                return;
        const struct cgroup_detail *detail =
                last->detail && (last->stats.parts & CGROUP_PART_DETAIL) ? &last->detail->cgroup
                                                                         : NULL;
        if (last->stats.parts)
                sink.timestamp = last->stats.real;
        add_cgroup(&sink, &last->stats, detail);
        add_spec(&sink, container, &last->stats, detail);
        if (last->detail)
                add_processes(&sink, &last->stats, &last->detail->processes);
}

/* ---- a pod's ---- */

static void add_interface(struct sink *sink, const struct interface_stats *from)
{
        char *name = arena_strdup(sink->arena, from->name);
        add_with(sink, METRIC_NETWORK_RX_BYTES, from->rx_bytes, name);
        add_with(sink, METRIC_NETWORK_RX_PACKETS, from->rx_packets, name);
        add_with(sink, METRIC_NETWORK_RX_DROPPED, from->rx_dropped, name);
        add_with(sink, METRIC_NETWORK_RX_ERRORS, from->rx_errors, name);
        add_with(sink, METRIC_NETWORK_TX_BYTES, from->tx_bytes, name);
        add_with(sink, METRIC_NETWORK_TX_PACKETS, from->tx_packets, name);
        add_with(sink, METRIC_NETWORK_TX_DROPPED, from->tx_dropped, name);
        add_with(sink, METRIC_NETWORK_TX_ERRORS, from->tx_errors, name);
}

void pod_metric_values_pod(const struct pod *pod, unsigned groups, struct arena *arena,
                           struct pod_metric_list *list)
{
        struct sink sink = {
                .arena = arena, .groups = groups, .timestamp = clock_real(), .list = list};
        const struct stats_reading *last = pod->stats ? stats_source_last(pod->stats) : NULL;
        *list = (struct pod_metric_list){0};
        if (!last)
                return;
        sink.timestamp = last->stats.real;
        begin(&sink, pod, pod->id, "", POD_CONTAINER);
        for (size_t i = 0; last->interfaces_known && i < last->interface_count; i++)
                if (!last->interfaces[i].loopback)
                        add_interface(&sink, &last->interfaces[i]);
        if (!stats_pod_has_cgroup(pod))
                return;
        /* As cAdvisor tells of a pod's cgroup, and sums over containers leave it out. */
        begin(&sink, pod, pod->id, "", "");
        const struct cgroup_detail *detail =
                last->detail && (last->stats.parts & CGROUP_PART_DETAIL) ? &last->detail->cgroup
                                                                         : NULL;
        add_cgroup(&sink, &last->stats, detail);
}
