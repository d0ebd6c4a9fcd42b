/*
 * workload: pods that an annotation makes one of the node's workloads, whose containers get that
 * workload's limits.
 *
 * Pure; any thread.
 */
#ifndef CRISP_CRI_WORKLOAD_H
#define CRISP_CRI_WORKLOAD_H

#include "cri/container.h"
#include "cri/resources.h"

/* The workload whose activation annotation the pod has; null when it has none. */
const struct config_workload *workload_of(const struct config *config, const struct pod *pod);

/*
 * Puts the workload's limits, or those that the pod's PREFIX/CONTAINER annotation has in their
 * place (JSON with cpushares, cpuset, cpuquota, cpuperiod, cpulimit), over what the kubelet says.
 * Texts live in the arena. INVALID_ARGUMENT for an annotation that is none.
 */
int workload_apply(const struct config_workload *workload, const struct container *container,
                   struct arena *arena, resources_message *resources, struct error *err);

#endif
