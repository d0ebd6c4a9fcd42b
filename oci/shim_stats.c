/* What a shim tells of a container's use: the numbers of a guest's cgroup, v1 or v2. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "oci/shim_private.h"
#include "api/shim/cgroup1_metrics.pb-c.h"
#include "api/shim/cgroup2_metrics.pb-c.h"
#include "api/shim/task_v2.pb-c.h"

typedef Io__Containerd__Cgroups__V1__Metrics metrics_v1;
typedef Io__Containerd__Cgroups__V2__Metrics metrics_v2;

/* A limit that is not told is none. */
static uint64_t limit(uint64_t value)
{
        return value ? cgroup_limit_v1(value) : CGROUP_UNLIMITED;
}

static uint64_t either(uint64_t total, uint64_t own)
{
        return total ? total : own;
}

static struct cgroup_device *find_device(struct cgroup_detail *detail, uint64_t major,
                                         uint64_t minor)
{
        struct cgroup_device *each = detail->devices;
        for (; each < detail->devices + detail->device_count; each++)
                if (each->major == major && each->minor == minor)
                        return each;
        if (detail->device_count == CGROUP_DEVICES_MAX)
                return NULL;
        detail->device_count++;
        *each = (struct cgroup_device){.major = (unsigned)major, .minor = (unsigned)minor};
        return each;
}

static void add_pages(struct cgroup_detail *detail, const char *size, uint64_t usage, uint64_t most,
                      uint64_t failures)
{
        if (detail->page_size_count == CGROUP_PAGE_SIZES_MAX)
                return;
        struct cgroup_pages *pages = &detail->pages[detail->page_size_count++];
        snprintf(pages->size, sizeof pages->size, "%s", size);
        pages->usage = usage;
        pages->usage_max = most;
        pages->failures = failures;
}

/* ---- cgroup v1 ---- */

static void take_memory_v1(const Io__Containerd__Cgroups__V1__MemoryStat *memory,
                           struct cgroup_stats *stats)
{
        const Io__Containerd__Cgroups__V1__MemoryEntry *usage = memory->usage, *swap = memory->swap;
        if (!usage)
                return;
        stats->parts |= CGROUP_PART_MEMORY;
        stats->memory_usage = usage->usage;
        stats->memory_limit = limit(usage->limit);
        stats->memory_inactive_file = either(memory->total_inactive_file, memory->inactive_file);
        stats->memory_active_file = either(memory->total_active_file, memory->active_file);
        stats->memory_rss = either(memory->total_rss, memory->rss);
        stats->memory_cache = either(memory->total_cache, memory->cache);
        stats->memory_mapped_file = either(memory->total_mapped_file, memory->mapped_file);
        stats->memory_kernel = memory->kernel ? memory->kernel->usage : 0;
        stats->page_faults = either(memory->total_pg_fault, memory->pg_fault);
        stats->major_page_faults = either(memory->total_pg_maj_fault, memory->pg_maj_fault);
        /* v1 counts memory and swap together. */
        stats->swap_known = swap && swap->usage >= usage->usage;
        if (!stats->swap_known)
                return;
        stats->swap_usage = swap->usage - usage->usage;
        uint64_t both = limit(swap->limit);
        stats->swap_limit = both == CGROUP_UNLIMITED || stats->memory_limit > both
                                    ? CGROUP_UNLIMITED
                                    : both - stats->memory_limit;
}

static void take_io_v1(Io__Containerd__Cgroups__V1__BlkIOEntry *const *entries, size_t count,
                       bool bytes, struct cgroup_detail *detail)
{
        for (size_t i = 0; i < count; i++) {
                const Io__Containerd__Cgroups__V1__BlkIOEntry *entry = entries[i];
                bool reads = strcasecmp(entry->op, "read") == 0;
                if (!reads && strcasecmp(entry->op, "write") != 0)
                        continue;
                struct cgroup_device *device = find_device(detail, entry->major, entry->minor);
                if (!device)
                        continue;
                uint64_t *place = bytes   ? (reads ? &device->read_bytes : &device->write_bytes)
                                  : reads ? &device->reads
                                          : &device->writes;
                *place += entry->value;
        }
}

static void take_detail_v1(const metrics_v1 *metrics, struct cgroup_detail *detail)
{
        if (metrics->cpu && metrics->cpu->usage) {
                detail->cpu_user = metrics->cpu->usage->user;
                detail->cpu_system = metrics->cpu->usage->kernel;
        }
        if (metrics->cpu && metrics->cpu->throttling) {
                detail->periods = metrics->cpu->throttling->periods;
                detail->throttled_periods = metrics->cpu->throttling->throttled_periods;
                detail->throttled = metrics->cpu->throttling->throttled_time;
        }
        if (metrics->memory && metrics->memory->usage) {
                detail->memory_usage_max = metrics->memory->usage->max;
                detail->memory_failures = metrics->memory->usage->failcnt;
        }
        if (metrics->memory_oom_control)
                detail->oom_kills = metrics->memory_oom_control->oom_kill;
        if (metrics->blkio) {
                take_io_v1(metrics->blkio->io_service_bytes_recursive,
                           metrics->blkio->n_io_service_bytes_recursive, true, detail);
                take_io_v1(metrics->blkio->io_serviced_recursive,
                           metrics->blkio->n_io_serviced_recursive, false, detail);
        }
        for (size_t i = 0; i < metrics->n_hugetlb; i++)
                add_pages(detail, metrics->hugetlb[i]->pagesize, metrics->hugetlb[i]->usage,
                          metrics->hugetlb[i]->max, metrics->hugetlb[i]->failcnt);
}

static void take_v1(const metrics_v1 *metrics, struct cgroup_stats *stats,
                    struct cgroup_detail *detail)
{
        if (metrics->cpu && metrics->cpu->usage) {
                stats->parts |= CGROUP_PART_CPU;
                stats->cpu_usage = metrics->cpu->usage->total;
        }
        if (metrics->memory)
                take_memory_v1(metrics->memory, stats);
        if (metrics->pids) {
                stats->parts |= CGROUP_PART_PIDS;
                stats->pids = metrics->pids->current;
                stats->pids_limit = limit(metrics->pids->limit);
        }
        if (detail)
                take_detail_v1(metrics, detail);
}

/* ---- cgroup v2 ---- */

static void take_stall(const Io__Containerd__Cgroups__V2__PSIData *from, struct cgroup_stall *to)
{
        if (from)
                *to = (struct cgroup_stall){from->avg10, from->avg60, from->avg300, from->total};
}

static void take_pressure(const Io__Containerd__Cgroups__V2__PSIStats *from,
                          struct cgroup_pressure *to)
{
        if (!from)
                return;
        to->known = true;
        take_stall(from->some, &to->some);
        take_stall(from->full, &to->full);
}

static void take_memory_v2(const Io__Containerd__Cgroups__V2__MemoryStat *memory,
                           struct cgroup_stats *stats)
{
        stats->parts |= CGROUP_PART_MEMORY;
        stats->memory_usage = memory->usage;
        stats->memory_limit = limit(memory->usage_limit);
        stats->memory_inactive_file = memory->inactive_file;
        stats->memory_active_file = memory->active_file;
        stats->memory_rss = memory->anon;
        stats->memory_cache = memory->file;
        stats->memory_mapped_file = memory->file_mapped;
        stats->memory_kernel = memory->kernel_stack + memory->slab;
        stats->page_faults = memory->pgfault;
        stats->major_page_faults = memory->pgmajfault;
        stats->swap_known = memory->swap_usage || memory->swap_limit;
        stats->swap_usage = memory->swap_usage;
        stats->swap_limit = limit(memory->swap_limit);
}

static void take_detail_v2(const metrics_v2 *metrics, struct cgroup_detail *detail)
{
        if (metrics->cpu) {
                detail->cpu_user = metrics->cpu->user_usec * (uint64_t)NSEC_PER_USEC;
                detail->cpu_system = metrics->cpu->system_usec * (uint64_t)NSEC_PER_USEC;
                detail->periods = metrics->cpu->nr_periods;
                detail->throttled_periods = metrics->cpu->nr_throttled;
                detail->throttled = metrics->cpu->throttled_usec * (uint64_t)NSEC_PER_USEC;
        }
        if (metrics->memory)
                detail->memory_usage_max = metrics->memory->max_usage;
        if (metrics->memory_events) {
                detail->memory_failures = metrics->memory_events->max;
                detail->oom_kills = metrics->memory_events->oom_kill;
        }
        for (size_t i = 0; metrics->io && i < metrics->io->n_usage; i++) {
                const Io__Containerd__Cgroups__V2__IOEntry *entry = metrics->io->usage[i];
                struct cgroup_device *device = find_device(detail, entry->major, entry->minor);
                if (!device)
                        continue;
                device->read_bytes += entry->rbytes;
                device->write_bytes += entry->wbytes;
                device->reads += entry->rios;
                device->writes += entry->wios;
        }
        for (size_t i = 0; i < metrics->n_hugetlb; i++)
                add_pages(detail, metrics->hugetlb[i]->pagesize, metrics->hugetlb[i]->current, 0,
                          metrics->hugetlb[i]->failcnt);
}

static void take_v2(const metrics_v2 *metrics, struct cgroup_stats *stats,
                    struct cgroup_detail *detail)
{
        if (metrics->cpu) {
                stats->parts |= CGROUP_PART_CPU;
                stats->cpu_usage = metrics->cpu->usage_usec * (uint64_t)NSEC_PER_USEC;
                take_pressure(metrics->cpu->psi, &stats->cpu_pressure);
        }
        if (metrics->memory) {
                take_memory_v2(metrics->memory, stats);
                take_pressure(metrics->memory->psi, &stats->memory_pressure);
        }
        if (metrics->io)
                take_pressure(metrics->io->psi, &stats->io_pressure);
        if (metrics->pids) {
                stats->parts |= CGROUP_PART_PIDS;
                stats->pids = metrics->pids->current;
                stats->pids_limit = limit(metrics->pids->limit);
        }
        if (detail)
                take_detail_v2(metrics, detail);
}

/* ---- either ---- */

static bool is_type(const char *type, const ProtobufCMessageDescriptor *descriptor)
{
        const char *slash = strrchr(type, '/');
        return strcmp(slash ? slash + 1 : type, descriptor->name) == 0;
}

int shim_stats_parse(const char *type, const uint8_t *bytes, size_t length,
                     struct cgroup_stats *stats, struct cgroup_detail *detail, struct error *err)
{
        const ProtobufCMessageDescriptor *v1 = &io__containerd__cgroups__v1__metrics__descriptor;
        const ProtobufCMessageDescriptor *v2 = &io__containerd__cgroups__v2__metrics__descriptor;
        bool first = is_type(type, v1);
        if (!first && !is_type(type, v2))
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "statistics of type \"%.80s\", which crisp does not know", type);
        ProtobufCMessage *message = protobuf_c_message_unpack(first ? v1 : v2, NULL, length, bytes);
        if (!message)
                return error_set(err, ERROR_DATA_LOSS, "the statistics cannot be read");
        *stats = (struct cgroup_stats){.real = stats->real, .monotonic = stats->monotonic};
        if (detail) {
                *detail = (struct cgroup_detail){.cpu_quota = CGROUP_UNLIMITED};
                stats->parts |= CGROUP_PART_DETAIL;
        }
        if (first)
                take_v1((const metrics_v1 *)message, stats, detail);
        else
                take_v2((const metrics_v2 *)message, stats, detail);
        if (stats->cpu_pressure.known || stats->memory_pressure.known || stats->io_pressure.known)
                stats->parts |= CGROUP_PART_PRESSURE;
        protobuf_c_message_free_unpacked(message, NULL);
        return 0;
}

int shim_stats(const char *container_id, int64_t deadline, struct cgroup_stats *stats,
               struct cgroup_detail *detail, struct error *err)
{
        const struct shim_task *task;
        AUTO_SHIM struct shim *shim = shim_of_task(container_id, &task);
        Containerd__Task__V2__StatsRequest request = CONTAINERD__TASK__V2__STATS_REQUEST__INIT;
        ProtobufCMessage *answer = NULL;
        if (!shim)
                return error_set(err, ERROR_UNAVAILABLE, "the container's shim is not known");
        request.id = (char *)container_id;
        int result =
                shim_ask(shim, "Stats", &request.base,
                         &containerd__task__v2__stats_response__descriptor, deadline, &answer, err);
        if (result < 0)
                return result;
        const Google__Protobuf__Any *any = ((Containerd__Task__V2__StatsResponse *)answer)->stats;
        stats->real = clock_real();
        stats->monotonic = clock_monotonic();
        result = any ? shim_stats_parse(any->type_url, any->value.data, any->value.len, stats,
                                        detail, err)
                     : error_set(err, ERROR_UNIMPLEMENTED, "the shim has no statistics");
        protobuf_c_message_free_unpacked(answer, NULL);
        return result;
}
