/*
 * pull_cgroup: the cgroups that pulls run in, where images.pull_cgroup wants such.
 *
 * Each crisp-image gets a folder of its own below the configured cgroup, or that of the pod which
 * the image is for, so that what a pull uses is counted and limited there. Which folders there may
 * be is written to RUN/pulls first: a crash leaves none behind. Loop's thread.
 */
#ifndef CRISP_CRI_PULL_CGROUP_H
#define CRISP_CRI_PULL_CGROUP_H

#include "base/error.h"
#include "image/pull.h"
#include "oci/cgroup.h"

#define PULL_CGROUP_POD "pod" /* images.pull_cgroup: the pod's */

/* How a configured cgroup is read: slices as systemd names them, whatever the pods' driver is. */
enum cgroup_driver pull_cgroup_driver(const char *configured);

/* For struct pull_options: enter makes a folder, leave removes it; what is in use then is removed
 * in the background when it is not any more. They wait. */
int pull_cgroup_enter(const char *pod_cgroup, const char *name, struct pull_place *place,
                      struct error *err);
void pull_cgroup_leave(struct pull_place *place);

/* What an earlier daemon left: each folder goes when nothing runs in it. Blocks; starts tasks. Once
 * at the start. */
void pull_cgroup_recover(void);

#endif
