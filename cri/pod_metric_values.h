/*
 * pod_metric_values: what was read of containers and pods as metrics of the CRI.
 *
 * What a list points to is the arena's, or its container's or pod's. Loop's thread; does not wait.
 */
#ifndef CRISP_CRI_POD_METRIC_VALUES_H
#define CRISP_CRI_POD_METRIC_VALUES_H

#include "api/cri/runtime_v1.pb-c.h"
#include "base/arena.h"
#include "cri/container.h"
#include "cri/container_usage.h"
#include "cri/pod.h"

struct pod_metric_list {
        Runtime__V1__Metric **metrics;
        size_t count;
};

/* Of a running container, in these groups (bits of enum pod_metric_group). disk: what
 * container_usage_total says. */
void pod_metric_values_container(const struct container *container, unsigned groups,
                                 const struct container_usage_total *disk, struct arena *arena,
                                 struct pod_metric_list *list);

/* Of the pod itself: its interfaces, for container "POD", and its cgroup where it has one, for no
 * container. */
void pod_metric_values_pod(const struct pod *pod, unsigned groups, struct arena *arena,
                           struct pod_metric_list *list);

#endif
