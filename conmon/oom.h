/*
 * oom: whether the kernel killed for want of memory.
 *
 * A kill is counted before its victim dies, so whoever sees the victim's end finds the count.
 */
#ifndef CRISP_CONMON_OOM_H
#define CRISP_CONMON_OOM_H

#include <stdbool.h>
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

/*
 * A cgroup whose files may be gone before anybody could look: systemd removes a scope as soon as it
 * is empty. So what v2's memory.events counts is read each time that it changes, until the first
 * kill. The kernel tells of changes a hundred times a second at most.
 */
struct oom_watch {
        int fd; /* to be polled for POLLPRI, or -1: then there is nothing to hear */
        bool killed;
        const char *parent;   /* memory.events of the cgroup above, which counts for this one too */
        int64_t parent_kills; /* when this one had none yet */
        int64_t heard;        /* monotonic ns of the last change; 0 before the first */
};

/* parent, borrowed, may be null: then the cgroup's files stay, and nothing is to be watched. */
void oom_watch_open(struct oom_watch *watch, const char *file, const char *parent);
/* After POLLPRI. */
void oom_watch_look(struct oom_watch *watch);
/* Whether there was a kill, for a cgroup that is gone. by_sigkill: what ended the first process. */
bool oom_watch_killed(const struct oom_watch *watch, bool by_sigkill);
void oom_watch_close(struct oom_watch *watch);

#endif
