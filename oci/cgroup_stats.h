/*
 * cgroup_stats: what the kernel's cgroup files say of a container or a pod, as numbers.
 *
 * Parsers of the text that those files hold, for cgroup v1 and v2; no file is opened here
 * (cgroup_reader.h does). Text that is not as expected gives the values that could be read, and
 * zeroes for the rest: kernels differ in what they tell. Pure; any thread.
 */
#ifndef CRISP_OCI_CGROUP_STATS_H
#define CRISP_OCI_CGROUP_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_DEVICES_MAX    64 /* block devices of one cgroup; further ones are left out */
#define CGROUP_PAGE_SIZES_MAX 8  /* sizes of huge pages; x86-64 has two, arm64 up to four */
#define CGROUP_PAGE_SIZE_NAME 16 /* bytes of "2MB" with its zero */
#define CGROUP_UNLIMITED      UINT64_MAX

/* A line of a pressure file. */
struct cgroup_stall {
        double avg10, avg60, avg300; /* percent */
        uint64_t total;              /* microseconds */
};

struct cgroup_pressure {
        bool known; /* the kernel has it, and for this cgroup */
        struct cgroup_stall some, full;
};

/* Which of the values were read. */
enum cgroup_part {
        CGROUP_PART_CPU = 1 << 0,      /* cpu_usage */
        CGROUP_PART_MEMORY = 1 << 1,   /* memory_*, swap_* */
        CGROUP_PART_PIDS = 1 << 2,     /* pids, pids_limit */
        CGROUP_PART_PRESSURE = 1 << 3, /* *_pressure */
        CGROUP_PART_DETAIL = 1 << 4,   /* struct cgroup_detail */
};

struct cgroup_stats {
        unsigned parts;
        int64_t real, monotonic; /* when: ns */

        uint64_t cpu_usage; /* ns */

        uint64_t memory_usage;         /* bytes, with the page cache */
        uint64_t memory_limit;         /* bytes, or CGROUP_UNLIMITED */
        uint64_t memory_inactive_file; /* bytes of the page cache that are taken first */
        uint64_t memory_active_file;
        uint64_t memory_rss;   /* bytes: anonymous, without swap */
        uint64_t memory_cache; /* bytes */
        uint64_t memory_mapped_file;
        uint64_t memory_kernel; /* bytes, 0 where it is not told */
        uint64_t page_faults, major_page_faults;
        bool swap_known;     /* the kernel counts swap for cgroups */
        uint64_t swap_usage; /* bytes */
        uint64_t swap_limit; /* bytes of swap alone, or CGROUP_UNLIMITED */

        uint64_t pids;       /* processes and threads */
        uint64_t pids_limit; /* or CGROUP_UNLIMITED */

        struct cgroup_pressure cpu_pressure, memory_pressure, io_pressure;
};

/* Bytes in use that cannot be taken back at once, as the kubelet and cAdvisor reckon. */
uint64_t cgroup_working_set(const struct cgroup_stats *stats);

struct cgroup_device {
        unsigned major, minor;
        uint64_t read_bytes, write_bytes, reads, writes;
};

struct cgroup_pages {
        char size[CGROUP_PAGE_SIZE_NAME];
        uint64_t usage, usage_max; /* bytes */
        uint64_t failures;
};

/* What only metrics tell of. */
struct cgroup_detail {
        uint64_t cpu_user, cpu_system; /* ns */
        uint64_t periods, throttled_periods;
        uint64_t throttled; /* ns */
        uint64_t memory_usage_max;
        uint64_t memory_failures; /* how often the limit was hit */
        uint64_t oom_kills;
        uint64_t cpu_shares; /* v1's shares; v2's weight as shares */
        uint64_t cpu_period; /* microseconds */
        uint64_t cpu_quota;  /* microseconds; CGROUP_UNLIMITED */
        uint64_t memory_reservation;
        struct cgroup_device devices[CGROUP_DEVICES_MAX];
        size_t device_count;
        struct cgroup_pages pages[CGROUP_PAGE_SIZES_MAX];
        size_t page_size_count;
};

/* ---- parsers: text is a file's, with a zero after it ---- */

/* A number alone; "max" is CGROUP_UNLIMITED. False for anything else. */
bool cgroup_parse_number(const char *text, uint64_t *value);

/* The value of "key value" on a line of its own. False where there is none. */
bool cgroup_parse_key(const char *text, const char *key, uint64_t *value);

/* memory.stat. */
void cgroup_parse_memory_v1(const char *text, struct cgroup_stats *stats);
void cgroup_parse_memory_v2(const char *text, struct cgroup_stats *stats);

/* v2's cpu.stat: usage into *usage (ns, 0 where it is missing) and, unless null, the rest into
 * detail. */
void cgroup_parse_cpu_v2(const char *text, uint64_t *usage, struct cgroup_detail *detail);
/* v1's cpu.stat: periods and throttling. */
void cgroup_parse_cpu_v1(const char *text, struct cgroup_detail *detail);

/* cpu.pressure and the like. False, and *pressure is not known, where it is none. */
bool cgroup_parse_pressure(const char *text, struct cgroup_pressure *pressure);

/* v2's io.stat. */
void cgroup_parse_io_v2(const char *text, struct cgroup_detail *detail);
/* v1's blkio.throttle.io_service_bytes (bytes is true) or io_serviced. */
void cgroup_parse_io_v1(const char *text, bool bytes, struct cgroup_detail *detail);

/* v2's cpu.max: quota and period. */
void cgroup_parse_cpu_max(const char *text, struct cgroup_detail *detail);

/* A v2 weight as the shares that runtimes make it from. */
uint64_t cgroup_shares_of_weight(uint64_t weight);

/* A v1 limit: what is near the greatest number means none. */
uint64_t cgroup_limit_v1(uint64_t value);

#endif
