/*
 * stats_message: what was read of containers and pods as messages of the CRI.
 *
 * Attributes are always there; what could not be read is not. What a message points to is the
 * arena's, or its container's or pod's. Loop's thread; does not wait.
 */
#ifndef CRISP_CRI_STATS_MESSAGE_H
#define CRISP_CRI_STATS_MESSAGE_H

#include "api/cri/runtime_v1.pb-c.h"
#include "base/arena.h"
#include "cri/container.h"
#include "cri/pod.h"

Runtime__V1__ContainerStats *stats_message_container(const struct container *container,
                                                     struct arena *arena);

/* With its running containers. */
Runtime__V1__PodSandboxStats *stats_message_pod(const struct pod *pod, struct arena *arena);

#endif
