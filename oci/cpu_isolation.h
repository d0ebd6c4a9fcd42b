/*
 * cpu_isolation: a container's processors taken out of the scheduler's load balancing, and quotas
 * of time lifted.
 *
 * Functions block, and run one at a time. folder and owner are those of setting.h.
 */
#ifndef CRISP_OCI_CPU_ISOLATION_H
#define CRISP_OCI_CPU_ISOLATION_H

#include "oci/cgroup.h"
#include "oci/cpu_list.h"

/*
 * path: the container's cgroup, which is there. v1: cpuset.sched_load_balance is cleared in it;
 * who owns the cgroups above must do the same there for it to have an effect. v2: it becomes an
 * isolated partition with these processors, which all cgroups above hand down as exclusive: from
 * Linux 6.7, FAILED_PRECONDITION before that.
 */
int cpu_isolation_begin(const struct cgroup_system *system, const char *path,
                        const struct cpu_list *cpus, const char *folder, const char *owner,
                        struct error *err);

/* Gives the processors back to the cgroups above. The container's own may be there or not. */
int cpu_isolation_end(const struct cgroup_system *system, const char *folder, const char *owner,
                      struct error *err);

/* Lifts the quota of a cgroup. Not there, or with no such controller, is fine. */
int cpu_isolation_lift_quota(const struct cgroup_system *system, const char *path,
                             struct error *err);

#endif
