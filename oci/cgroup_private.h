/*
 * cgroup_private: what the files of oci/cgroup*.c share. For nobody else.
 */
#ifndef CRISP_OCI_CGROUP_PRIVATE_H
#define CRISP_OCI_CGROUP_PRIVATE_H

#include "oci/cgroup.h"

/* Whether the hierarchy has this controller ("memory", "name=systemd"). */
bool cgroup_controls(const struct cgroup_hierarchy *hierarchy, const char *controller);

/*
 * Every tree in which a cgroup of ours may have a folder: v1's hierarchies, then the unified one
 * (on hybrid too: runc makes a folder there). Their number.
 */
#define CGROUP_ROOTS_MAX (CGROUP_HIERARCHIES_MAX + 1)
size_t cgroup_roots(const struct cgroup_system *system, const char *roots[CGROUP_ROOTS_MAX]);

/* -EINVAL for the root itself and for what is no absolute path: nothing of ours, and a mistake that
 * would cost everything. */
int cgroup_check_path(const char *path, struct error *err);

#endif
