/*
 * pod_resources: what a pod as a whole may use: the sum of its containers, and what its runtime
 * takes beside them. The kubelet keeps the pod's cgroup; here it is kept, shown and handed on.
 */
#ifndef CRISP_CRI_POD_RESOURCES_H
#define CRISP_CRI_POD_RESOURCES_H

#include "cri/pod.h"
#include "cri/resources.h"

/* As the last UpdatePodSandboxResources said, else as RunPodSandbox did; null where neither did. */
const resources_message *pod_overhead(const struct pod *pod);
const resources_message *pod_resources(const struct pod *pod);

#define POD_RESOURCES_ANNOTATIONS 6

/* The annotations by which runtimes are told; their number. What they point to is the arena's. */
size_t pod_resources_annotations(const struct pod *pod, struct arena *arena,
                                 struct spec_pair pairs[POD_RESOURCES_ANNOTATIONS]);

void pod_resources_put(const struct pod *pod, json_t *record);
int pod_resources_restore(struct pod *pod, const json_t *record, struct error *err);

#endif
