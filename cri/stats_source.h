/*
 * stats_source: a container or pod whose use of the machine can be asked for.
 *
 * Remembers what was read last, and from earlier readings how much of a processor is in use. What
 * is read is read by workers: one goes through all that a request asks for, and where a file does
 * not answer within STATS_SOURCE_TIME, another one goes on behind it. Such a source is left alone
 * until its worker is back; meanwhile what was read before counts, with the time of then.
 *
 * Loop's thread only.
 */
#ifndef CRISP_CRI_STATS_SOURCE_H
#define CRISP_CRI_STATS_SOURCE_H

#include "base/cleanup.h"
#include "base/task.h"
#include "network/interface_stats.h"
#include "oci/cgroup_reader.h"
#include "oci/process_stats.h"

#define STATS_SOURCE_TIME      (2 * NSEC_PER_SEC) /* that one source may take */
#define STATS_SOURCE_STUCK_MAX 8 /* workers that wait for files that do not answer */

/* What is asked for: enum cgroup_part, and these. */
enum stats_part {
        STATS_PART_INTERFACES = 1 << 16,
        STATS_PART_PROCESSES = 1 << 17,
};
#define STATS_PARTS_BASIC                                                                          \
        (CGROUP_PART_CPU | CGROUP_PART_MEMORY | CGROUP_PART_PIDS | CGROUP_PART_PRESSURE)

struct stats_detail {
        struct cgroup_detail cgroup;
        struct process_stats processes;
};

/* What was read, of the parts that stats.parts names. */
struct stats_reading {
        struct cgroup_stats stats;
        struct interface_stats *interfaces; /* heap */
        size_t interface_count;
        bool interfaces_known;
        struct stats_detail *detail; /* heap; null where it was not asked for */
};

struct stats_source;

/*
 * cgroup is the path of the cgroup, or null for none; netns the path of a pinned network namespace,
 * or null; pid the first process, or 0. One reference.
 */
struct stats_source *stats_source_new(const char *cgroup, const char *netns, pid_t pid);
/* Its processes are a guest's: what its shim tells of the container counts, where it tells
 * anything. One that does not answer is asked again after STATS_GUEST_PAUSE. */
#define STATS_GUEST_PAUSE (30 * NSEC_PER_SEC)
void stats_source_set_guest(struct stats_source *source, const char *container_id);
struct stats_source *stats_source_ref(struct stats_source *source);
void stats_source_unref(struct stats_source *source); /* null is allowed */

/*
 * Closes what is open of it, for good, so that its cgroup and namespace can go. Waits for a worker
 * that reads it, but not for a stuck one: that one closes it later. From a task. Null is allowed.
 */
void stats_source_close(struct stats_source *source);

/* Closes what can be opened again: for a time in which nobody asks. */
void stats_source_rest(struct stats_source *source);

/* A source, and what to read of it. */
struct stats_wish {
        struct stats_source *source; /* borrowed; held while it is read */
        unsigned parts;
};

/* Reads them all, as far as they answer. From a task; waits, at most a few STATS_SOURCE_TIME. */
void stats_source_read(const struct stats_wish *wishes, size_t count);

/* What was read last of the parts of a request (not by a sample); null before. Borrowed until the
 * task waits. */
const struct stats_reading *stats_source_last(const struct stats_source *source);
/* Billionths of a processor in use lately; false before there are two readings apart enough. */
bool stats_source_rate(const struct stats_source *source, uint64_t *nano_cores);
/* Frees the details, which are big: when a request is answered. */
void stats_source_drop_detail(struct stats_source *source);

/* Sources that do not answer now. */
unsigned stats_source_stuck(void);

/* ---- how the rate is reckoned: pure ---- */

#define STATS_RATE_SHORTEST NSEC_PER_SEC /* between two readings that are compared */
#define STATS_RATE_LONGEST  (300 * NSEC_PER_SEC)

struct stats_rate {
        bool begun, known;
        int64_t at;     /* monotonic ns of the reading that the next one is compared with */
        uint64_t usage; /* ns, then */
        uint64_t nano_cores;
};

/* Takes in one more reading. What came sooner than STATS_RATE_SHORTEST after the last is not
 * compared; what is older than STATS_RATE_LONGEST, or a counter that went back, begins anew. */
void stats_rate_add(struct stats_rate *rate, int64_t at, uint64_t usage);

#endif
