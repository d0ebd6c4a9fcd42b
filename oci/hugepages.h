/*
 * hugepages: the sizes of huge pages that a machine has, and their limits in a cgroup.
 */
#ifndef CRISP_OCI_HUGEPAGES_H
#define CRISP_OCI_HUGEPAGES_H

#include <stdbool.h>

#include "oci/cgroup.h"
#include "oci/spec.h"

#define HUGEPAGES_ROOT "/sys/kernel/mm/hugepages"

/* Whether the kernel has pages of this size, as CRI and cgroups name it: "2MB", "1GB", "64KB".
 * root: HUGEPAGES_ROOT, or another for tests. Looks into sysfs, which does not wait. */
bool hugepages_known(const char *root, const char *size);

/*
 * Sets limits in a cgroup that is there; where the machine has no hugetlb controller there is
 * nothing to set. For runtimes whose update does not know them. Blocks.
 */
int hugepages_limit(const struct cgroup_system *system, const char *path,
                    const struct spec_hugepage *limits, size_t count, struct error *err);

#endif
