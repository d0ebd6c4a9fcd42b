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

/*
 * Makes the last folder of path alone, in one hierarchy: the first of the freezer's and some others
 * that is there. Or, where all is true, in every one that has no cpuset, and then *cpuset_tasks is
 * the `tasks` file of the folder above in the one that has (heap), or null. On v2 there is only
 * one. -ENOENT (NOT_FOUND) where the folder above is not there. *controller (a literal, or null on
 * v2) is what the hierarchy is called.
 */
struct cgroup_child {
        const char *controller;
        char *cpuset_tasks;
};
int cgroup_child_make(const struct cgroup_system *system, const char *path, bool all,
                      struct cgroup_child *child, struct error *err);

/*
 * Moves the processes of path, not of what is below it, to the folder above, and removes path. What
 * cannot be moved stays, and path with it: it goes when the container's cgroup is removed.
 */
void cgroup_child_dissolve(const struct cgroup_system *system, const char *path);

#endif
