/*
 * oom: whether the kernel killed for want of memory.
 *
 * A kill is counted before its victim dies, so whoever sees the victim's end finds the count.
 */
#ifndef CRISP_CONMON_OOM_H
#define CRISP_CONMON_OOM_H

#include <stdint.h>

/*
 * How many processes of a cgroup the kernel killed: file is its memory.oom_control (v1) or
 * memory.events (v2), which both have a line "oom_kill N". A null file has none. -1 where it cannot
 * be read.
 */
int64_t oom_kills(const char *file);

/*
 * More than 0 also where a cgroup below it, of those that are there now, had a kill: v1 counts it
 * in the victim's own cgroup alone, and an init that makes cgroups of its own may sit in one.
 */
int64_t oom_kills_below(const char *file);

#endif
