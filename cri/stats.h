/*
 * stats: what containers and pods use, as the CRI asks for it and as its metrics need it.
 *
 * Loop's thread only.
 */
#ifndef CRISP_CRI_STATS_H
#define CRISP_CRI_STATS_H

#include <stdbool.h>
#include <stddef.h>

#include "cri/container.h"
#include "cri/pod.h"
#include "cri/rpc.h"
#include "cri/stats_source.h"

rpc_handler stats_container_handler, stats_container_list_handler, stats_container_stream_handler,
        stats_pod_handler, stats_pod_list_handler, stats_pod_stream_handler;

/* Pods, each with a reference: those that have statistics, in the arena. Give them back with
 * stats_pods_unref. */
struct stats_pods {
        struct pod **pods;
        size_t count;
};
bool stats_pod_is_asked(const struct pod *pod); /* READY and not being stopped */
void stats_pods_unref(struct stats_pods *pods);
#define AUTO_STATS_PODS CLEANUP(stats_pods_unref)

/*
 * Reads these pods and their running containers: container_parts of each container, pod_parts of
 * each pod and, of those that have a cgroup of their own, STATS_PARTS_BASIC. From a task; waits.
 */
void stats_read_pods(struct pod *const *pods, size_t count, unsigned container_parts,
                     unsigned pod_parts);

/* Whether the pod's cgroup parent is its alone, as a kubelet makes it: then its files tell of the
 * pod. Others' use is added up from their containers. As of the last stats_read_pods. */
bool stats_pod_has_cgroup(const struct pod *pod);

#endif
