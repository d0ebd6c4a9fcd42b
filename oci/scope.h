/*
 * scope: what systemd knows of the limits of a container's scope.
 *
 * At each daemon-reload, which any package's installation brings, systemd writes what it knows into
 * the cgroup files of its units. Runtimes that make scopes do not tell it all that they write there
 * themselves: crun 1.8 nothing of memory, processes and quotas, runc 1.1 not that there is to be no
 * swap. Such limits would be gone then.
 */
#ifndef CRISP_OCI_SCOPE_H
#define CRISP_OCI_SCOPE_H

#include "base/error.h"
#include "oci/cgroup.h"

/*
 * Tells systemd the limits that the files of the scope at path have now, as far as it knows others.
 * It counts quotas in whole percents of a processor: others are rounded up. Does nothing but on v2,
 * and for a scope that is gone. UNAVAILABLE where systemd does not answer in time. Blocks, 10
 * seconds at most for each question.
 */
int scope_tell(const struct cgroup_system *system, const char *path, struct error *err);

#endif
