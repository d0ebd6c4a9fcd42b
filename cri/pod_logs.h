/*
 * pod_logs: a pod's logs in one of its volumes, as CRI-O's annotation link-logs.crio.io asks for.
 *
 * Its value names an emptyDir volume of the pod. The folder of the pod's logs is mounted on it,
 * read-only, and gets a link ID.log for each container. All of it blocks: on a worker only.
 */
#ifndef CRISP_CRI_POD_LOGS_H
#define CRISP_CRI_POD_LOGS_H

#include "base/error.h"
#include "cri/container.h"

/*
 * Mounts the logs where the pod asks for it and may: FAILED_PRECONDITION where the volume is not
 * there, INVALID_ARGUMENT where the value is no volume's name. There already is fine.
 */
int pod_logs_mount(const struct pod *pod, struct error *err);

/* Unmounts them; not there is fine. A volume that is a mount of its own (medium: Memory) stays. */
int pod_logs_unmount(const struct pod *pod, struct error *err);

/* Makes the link of a container, if its pod's logs are in a volume. */
int pod_logs_link(const struct container *container, struct error *err);

#endif
