#include "oci/cgroup_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "oci/cgroup_private.h"

#define FILE_MAX      (32 * 1024) /* bytes of a file; memory.stat has 2 KB, io.stat 100 a device */
#define KEPT_FRACTION 2           /* of the process's descriptors */
#define PAGES_DIR     "/sys/kernel/mm/hugepages"

/* ---- the files that are kept ---- */

enum kept {
        KEPT_CPU,
        KEPT_MEMORY_STAT,
        KEPT_MEMORY_USAGE,
        KEPT_MEMORY_LIMIT,
        KEPT_SWAP_USAGE, /* v2 alone: v1 tells it in memory.stat */
        KEPT_SWAP_LIMIT,
        KEPT_PIDS,
        KEPT_PIDS_LIMIT,
        KEPT_CPU_PRESSURE,
        KEPT_MEMORY_PRESSURE,
        KEPT_IO_PRESSURE,
        KEPT_COUNT,
};

struct name {
        const char *controller; /* v1's */
        const char *v1, *v2;
};

/* Pressure is told by the unified tree alone, on a hybrid machine too. */
static const struct name names[KEPT_COUNT] = {
        [KEPT_CPU] = {"cpuacct", "cpuacct.usage", "cpu.stat"},
        [KEPT_MEMORY_STAT] = {"memory", "memory.stat", "memory.stat"},
        [KEPT_MEMORY_USAGE] = {"memory", "memory.usage_in_bytes", "memory.current"},
        [KEPT_MEMORY_LIMIT] = {"memory", "memory.limit_in_bytes", "memory.max"},
        [KEPT_SWAP_USAGE] = {"memory", NULL, "memory.swap.current"},
        [KEPT_SWAP_LIMIT] = {"memory", "memory.memsw.limit_in_bytes", "memory.swap.max"},
        [KEPT_PIDS] = {"pids", "pids.current", "pids.current"},
        [KEPT_PIDS_LIMIT] = {"pids", "pids.max", "pids.max"},
        [KEPT_CPU_PRESSURE] = {NULL, "cpu.pressure", "cpu.pressure"},
        [KEPT_MEMORY_PRESSURE] = {NULL, "memory.pressure", "memory.pressure"},
        [KEPT_IO_PRESSURE] = {NULL, "io.pressure", "io.pressure"},
};

#define UNOPENED (-1)
#define MISSING  (-2) /* looked for once: the machine has none */

struct cgroup_reader {
        const struct cgroup_system *system;
        char *path;
        int fds[KEPT_COUNT]; /* or UNOPENED or MISSING */
        char *text; /* FILE_MAX bytes of the stack, while it reads: there are many readers */
};

static atomic_uint kept_now;
static atomic_uint kept_max = UINT_MAX; /* until it is set or reckoned */

static unsigned bound(void)
{
        unsigned most = atomic_load(&kept_max);
        if (most != UINT_MAX)
                return most;
        struct rlimit limit;
        most = CGROUP_READER_KEPT_MAX;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / KEPT_FRACTION < most)
                most = (unsigned)(limit.rlim_cur / KEPT_FRACTION);
        atomic_store(&kept_max, most);
        return most;
}

void cgroup_reader_keep(unsigned descriptors)
{
        atomic_store(&kept_max, descriptors);
}

unsigned cgroup_reader_kept(void)
{
        return atomic_load(&kept_now);
}

struct cgroup_reader *cgroup_reader_new(const struct cgroup_system *system, const char *path)
{
        struct cgroup_reader *reader = xcalloc(1, sizeof *reader);
        reader->system = system;
        reader->path = xstrdup(path);
        for (size_t i = 0; i < KEPT_COUNT; i++)
                reader->fds[i] = UNOPENED;
        return reader;
}

void cgroup_reader_rest(struct cgroup_reader *reader)
{
        for (size_t i = 0; i < KEPT_COUNT; i++) {
                if (reader->fds[i] >= 0) {
                        close(reader->fds[i]);
                        atomic_fetch_sub(&kept_now, 1);
                }
                reader->fds[i] = UNOPENED;
        }
}

void cgroup_reader_free(struct cgroup_reader *reader)
{
        if (!reader)
                return;
        cgroup_reader_rest(reader);
        free(reader->path);
        free(reader);
}

/* ---- reading ---- */

/* The whole file into reader->text, with a zero after it. -EFBIG where it is longer than that. */
static int read_fd(struct cgroup_reader *reader, int fd)
{
        size_t length = 0;
        while (length < FILE_MAX - 1) {
                ssize_t got =
                        pread(fd, reader->text + length, FILE_MAX - 1 - length, (off_t)length);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0) {
                        reader->text[length] = '\0';
                        return 0;
                }
                length += (size_t)got;
        }
        return -EFBIG;
}

/* The path of a file; null where its controller has no hierarchy. controller: null is the unified
 * tree. */
static char *path_of(const struct cgroup_reader *reader, const char *controller, const char *file)
{
        const struct cgroup_system *system = reader->system;
        if (controller || system->mode == CGROUP_MODE_V2)
                return cgroup_file(system, reader->path, controller ? controller : "", file);
        if (!system->unified)
                return NULL;
        return xprintf("%s%s/%s", system->unified, strcmp(reader->path, "/") ? reader->path : "",
                       file);
}

static int open_file(const struct cgroup_reader *reader, const char *controller, const char *file)
{
        AUTO_FREE char *path = path_of(reader, controller, file);
        if (!path)
                return -ENOENT;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* Reads one of the files that are kept. */
static int read_kept(struct cgroup_reader *reader, enum kept which)
{
        int *fd = &reader->fds[which];
        if (*fd == MISSING)
                return -ENOENT;
        if (*fd >= 0)
                return read_fd(reader, *fd);
        const struct name *name = &names[which];
        const char *file = reader->system->mode == CGROUP_MODE_V2 ? name->v2 : name->v1;
        int opened = file ? open_file(reader, name->controller, file) : -ENOENT;
        if (opened < 0) {
                if (opened == -ENOENT)
                        *fd = MISSING;
                return opened;
        }
        int result = read_fd(reader, opened);
        if (atomic_fetch_add(&kept_now, 1) < bound()) {
                *fd = opened;
        } else {
                atomic_fetch_sub(&kept_now, 1);
                close(opened);
        }
        return result;
}

static int read_once(struct cgroup_reader *reader, const char *controller, const char *file)
{
        AUTO_FD int fd = open_file(reader, controller, file);
        return fd < 0 ? fd : read_fd(reader, fd);
}

static bool kept_number(struct cgroup_reader *reader, enum kept which, uint64_t *value)
{
        return read_kept(reader, which) == 0 && cgroup_parse_number(reader->text, value);
}

static bool once_number(struct cgroup_reader *reader, const char *controller, const char *file,
                        uint64_t *value)
{
        return read_once(reader, controller, file) == 0 && cgroup_parse_number(reader->text, value);
}

static bool is_v2(const struct cgroup_reader *reader)
{
        return reader->system->mode == CGROUP_MODE_V2;
}

/* ---- the parts ---- */

static bool read_cpu(struct cgroup_reader *reader, struct cgroup_stats *stats,
                     struct cgroup_detail *detail)
{
        if (read_kept(reader, KEPT_CPU) < 0)
                return false;
        if (!is_v2(reader))
                return cgroup_parse_number(reader->text, &stats->cpu_usage);
        cgroup_parse_cpu_v2(reader->text, &stats->cpu_usage, detail);
        return true;
}

static void read_swap(struct cgroup_reader *reader, struct cgroup_stats *stats)
{
        uint64_t limit = CGROUP_UNLIMITED;
        stats->swap_limit = CGROUP_UNLIMITED;
        if (is_v2(reader)) {
                stats->swap_known = kept_number(reader, KEPT_SWAP_USAGE, &stats->swap_usage);
                if (kept_number(reader, KEPT_SWAP_LIMIT, &limit))
                        stats->swap_limit = limit;
                return;
        }
        /* v1 limits memory and swap together. */
        stats->swap_known = kept_number(reader, KEPT_SWAP_LIMIT, &limit);
        limit = cgroup_limit_v1(limit);
        if (limit == CGROUP_UNLIMITED || stats->memory_limit == CGROUP_UNLIMITED)
                return;
        stats->swap_limit = limit > stats->memory_limit ? limit - stats->memory_limit : 0;
}

static bool read_memory(struct cgroup_reader *reader, struct cgroup_stats *stats)
{
        uint64_t limit;
        stats->memory_limit = CGROUP_UNLIMITED;
        if (!kept_number(reader, KEPT_MEMORY_USAGE, &stats->memory_usage) ||
            read_kept(reader, KEPT_MEMORY_STAT) < 0)
                return false;
        if (is_v2(reader))
                cgroup_parse_memory_v2(reader->text, stats);
        else
                cgroup_parse_memory_v1(reader->text, stats);
        if (kept_number(reader, KEPT_MEMORY_LIMIT, &limit))
                stats->memory_limit = is_v2(reader) ? limit : cgroup_limit_v1(limit);
        read_swap(reader, stats);
        return true;
}

static bool read_pids(struct cgroup_reader *reader, struct cgroup_stats *stats)
{
        if (!kept_number(reader, KEPT_PIDS, &stats->pids))
                return false;
        if (!kept_number(reader, KEPT_PIDS_LIMIT, &stats->pids_limit))
                stats->pids_limit = CGROUP_UNLIMITED;
        return true;
}

static bool read_pressure(struct cgroup_reader *reader, struct cgroup_stats *stats)
{
        struct cgroup_pressure *const into[] = {&stats->cpu_pressure, &stats->memory_pressure,
                                                &stats->io_pressure};
        bool any = false;
        for (size_t i = 0; i < 3; i++)
                if (read_kept(reader, KEPT_CPU_PRESSURE + (enum kept)i) == 0)
                        any |= cgroup_parse_pressure(reader->text, into[i]);
        return any;
}

/* ---- what only metrics tell of ---- */

static void detail_cpu_v1(struct cgroup_reader *reader, struct cgroup_detail *detail)
{
        uint64_t quota;
        once_number(reader, "cpuacct", "cpuacct.usage_user", &detail->cpu_user);
        once_number(reader, "cpuacct", "cpuacct.usage_sys", &detail->cpu_system);
        if (read_once(reader, "cpu", "cpu.stat") == 0)
                cgroup_parse_cpu_v1(reader->text, detail);
        once_number(reader, "cpu", "cpu.shares", &detail->cpu_shares);
        once_number(reader, "cpu", "cpu.cfs_period_us", &detail->cpu_period);
        /* -1, which is no number here, is none. */
        detail->cpu_quota =
                once_number(reader, "cpu", "cpu.cfs_quota_us", &quota) ? quota : CGROUP_UNLIMITED;
}

static void detail_memory_v1(struct cgroup_reader *reader, struct cgroup_stats *stats,
                             struct cgroup_detail *detail)
{
        uint64_t reservation = 0;
        once_number(reader, "memory", "memory.max_usage_in_bytes", &detail->memory_usage_max);
        once_number(reader, "memory", "memory.failcnt", &detail->memory_failures);
        once_number(reader, "memory", "memory.kmem.usage_in_bytes", &stats->memory_kernel);
        if (once_number(reader, "memory", "memory.soft_limit_in_bytes", &reservation))
                detail->memory_reservation = cgroup_limit_v1(reservation);
        if (read_once(reader, "memory", "memory.oom_control") == 0)
                cgroup_parse_key(reader->text, "oom_kill", &detail->oom_kills);
}

static void detail_v2(struct cgroup_reader *reader, struct cgroup_detail *detail)
{
        uint64_t weight;
        detail->cpu_quota = CGROUP_UNLIMITED;
        if (once_number(reader, "cpu", "cpu.weight", &weight))
                detail->cpu_shares = cgroup_shares_of_weight(weight);
        if (read_once(reader, "cpu", "cpu.max") == 0)
                cgroup_parse_cpu_max(reader->text, detail);
        once_number(reader, "memory", "memory.peak", &detail->memory_usage_max);
        once_number(reader, "memory", "memory.low", &detail->memory_reservation);
        if (read_once(reader, "memory", "memory.events") == 0) {
                cgroup_parse_key(reader->text, "max", &detail->memory_failures);
                cgroup_parse_key(reader->text, "oom_kill", &detail->oom_kills);
        }
        if (read_once(reader, "io", "io.stat") == 0)
                cgroup_parse_io_v2(reader->text, detail);
}

static void detail_io_v1(struct cgroup_reader *reader, struct cgroup_detail *detail)
{
        if (read_once(reader, "blkio", "blkio.throttle.io_service_bytes_recursive") == 0)
                cgroup_parse_io_v1(reader->text, true, detail);
        if (read_once(reader, "blkio", "blkio.throttle.io_serviced_recursive") == 0)
                cgroup_parse_io_v1(reader->text, false, detail);
}

/* "hugepages-2048kB" as cgroup files and dashboards have it: "2MB". */
static bool page_size_name(const char *entry, char name[CGROUP_PAGE_SIZE_NAME])
{
        static const char prefix[] = "hugepages-";
        static const char *const units[] = {"KB", "MB", "GB"};
        if (strncmp(entry, prefix, sizeof prefix - 1) != 0)
                return false;
        unsigned long size = strtoul(entry + sizeof prefix - 1, NULL, 10);
        size_t unit = 0;
        for (; size >= 1024 && size % 1024 == 0 && unit < 2; unit++)
                size /= 1024;
        return size && snprintf(name, CGROUP_PAGE_SIZE_NAME, "%lu%s", size, units[unit]) <
                               CGROUP_PAGE_SIZE_NAME;
}

static bool page_number(struct cgroup_reader *reader, const char *size, const char *v1,
                        const char *v2, uint64_t *value)
{
        char file[64];
        const char *what = is_v2(reader) ? v2 : v1;
        if (!what)
                return false;
        snprintf(file, sizeof file, "hugetlb.%s.%s", size, what);
        return once_number(reader, "hugetlb", file, value);
}

static void detail_pages(struct cgroup_reader *reader, struct cgroup_detail *detail)
{
        AUTO_FREE char *probe = cgroup_file(reader->system, "/", "hugetlb", "");
        AUTO_DIR DIR *dir = probe ? opendir(PAGES_DIR) : NULL;
        struct dirent *entry;
        while (dir && (entry = readdir(dir)) && detail->page_size_count < CGROUP_PAGE_SIZES_MAX) {
                struct cgroup_pages pages = {0};
                if (!page_size_name(entry->d_name, pages.size) ||
                    !page_number(reader, pages.size, "usage_in_bytes", "current", &pages.usage))
                        continue;
                page_number(reader, pages.size, "max_usage_in_bytes", NULL, &pages.usage_max);
                page_number(reader, pages.size, "failcnt", NULL, &pages.failures);
                char events[64];
                snprintf(events, sizeof events, "hugetlb.%s.events", pages.size);
                if (is_v2(reader) && read_once(reader, "hugetlb", events) == 0)
                        cgroup_parse_key(reader->text, "max", &pages.failures);
                detail->pages[detail->page_size_count++] = pages;
        }
}

static void read_detail(struct cgroup_reader *reader, struct cgroup_stats *stats,
                        struct cgroup_detail *detail)
{
        if (is_v2(reader)) {
                detail_v2(reader, detail);
        } else {
                detail_cpu_v1(reader, detail);
                detail_memory_v1(reader, stats, detail);
                detail_io_v1(reader, detail);
        }
        detail_pages(reader, detail);
}

int cgroup_reader_read(struct cgroup_reader *reader, unsigned parts, struct cgroup_stats *stats,
                       struct cgroup_detail *detail, struct error *err)
{
        struct cgroup_stats found = {.real = clock_real(), .monotonic = clock_monotonic()};
        char text[FILE_MAX];
        reader->text = text;
        if (parts & CGROUP_PART_DETAIL)
                *detail = (struct cgroup_detail){0};
        if ((parts & CGROUP_PART_CPU) &&
            read_cpu(reader, &found, parts & CGROUP_PART_DETAIL ? detail : NULL))
                found.parts |= CGROUP_PART_CPU;
        if ((parts & CGROUP_PART_MEMORY) && read_memory(reader, &found))
                found.parts |= CGROUP_PART_MEMORY;
        if ((parts & CGROUP_PART_PIDS) && read_pids(reader, &found))
                found.parts |= CGROUP_PART_PIDS;
        if (!found.parts) {
                /* Looked for in vain: what comes later under this path is looked for again. */
                cgroup_reader_rest(reader);
                reader->text = NULL;
                return error_set(err, ERROR_NOT_FOUND, "cgroup %s has gone", reader->path);
        }
        if ((parts & CGROUP_PART_PRESSURE) && read_pressure(reader, &found))
                found.parts |= CGROUP_PART_PRESSURE;
        if (parts & CGROUP_PART_DETAIL) {
                read_detail(reader, &found, detail);
                found.parts |= CGROUP_PART_DETAIL;
        }
        reader->text = NULL;
        *stats = found;
        return 0;
}
