/*
 * container_pids: whose PID namespace a container is in.
 *
 * Its own, its pod's, the host's, or that of another container of the pod (TARGET: kubectl debug
 * --target). A target's is pinned in the container's run folder while the target is known to run:
 * by the time that a runtime joins it, the number of its process may be somebody else's.
 */
#ifndef CRISP_CRI_CONTAINER_PIDS_H
#define CRISP_CRI_CONTAINER_PIDS_H

#include "cri/container.h"

/* The container's namespace options, the pod's where it has none. Never null. */
const Runtime__V1__NamespaceOption *container_namespaces(const struct container *container);

/* Whether nobody else is in its PID namespace: then its first process's end ends the others. */
bool container_has_own_pids(const struct container *container);

/*
 * Whether the target that it asks for can be joined: 0 also where it asks for none. NOT_FOUND for
 * one that is not known, INVALID_ARGUMENT for one of another pod, FAILED_PRECONDITION for one that
 * does not run.
 */
int container_check_target(const struct container *container, struct error *err);

/* Pins its target's PID namespace, where it has a target. Task only, waits. Errors as above. */
int container_pin_target(const struct container *container, struct error *err);

/* Takes that pin away. Not there is fine. Blocks. */
int container_unpin_target(const struct container *container, struct error *err);

/* Where it is pinned, on the heap. */
char *container_target_path(const struct container *container);

#endif
