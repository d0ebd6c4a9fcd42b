/*
 * oom_score: how likely the kernel takes a container's processes when memory runs out.
 */
#ifndef CRISP_OCI_OOM_SCORE_H
#define CRISP_OCI_OOM_SCORE_H

#include <stdbool.h>

#include "oci/cgroup.h"

/*
 * The score that a child of this process can have in place of the wanted one: without
 * CAP_SYS_RESOURCE the kernel lets nobody go below what it was given, and the runtime would fail.
 * Reads /proc/self; any thread.
 */
int oom_score_allowed(int wanted);

/*
 * Gives the processes of the cgroup that have the score `from` the score `to`; others have chosen
 * their own. Those that end meanwhile are passed over. Blocks.
 */
int oom_score_change(const struct cgroup_system *system, const char *path, int from, int to,
                     struct error *err);

#endif
