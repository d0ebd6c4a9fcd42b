/*
 * status_info: what the Status calls of pods and containers tell when they are verbose.
 *
 * One entry, "info", whose JSON has the members that CRI-O's has, so that what reads
 * `crictl inspect` finds them: sandboxID, pid, runtimeSpec, privileged of a container; image, pid,
 * runtimeSpec of a pod. crisp's own stand beside them. A pod has no specification of a runtime's
 * here, as it has no container of its own: its runtimeSpec is made up of what the pod has.
 *
 * The loop's thread, in a task.
 */
#ifndef CRISP_CRI_STATUS_INFO_H
#define CRISP_CRI_STATUS_INFO_H

#include <jansson.h>

struct container;
struct pod;

#define STATUS_INFO_SPEC_MAX ((size_t)4 << 20) /* bytes of a container's specification */

/* A new reference. Waits: the specification is read and parsed on a worker; one that cannot be read
 * is logged and left out. */
json_t *status_info_container(const struct container *container);

/* A new reference. From memory. */
json_t *status_info_pod(const struct pod *pod);

#endif
