/*
 * pod_shim: the shim of a pod whose handler is one (oci/shim.h).
 *
 * Shims that make something of their own for a pod, as Kata does its virtual machine, get a sandbox
 * container: our crisp-pause in a root that has nothing else, with the annotations by which they
 * know one. Those that only drive an OCI runtime get none: the pod's namespaces are pinned already.
 */
#ifndef CRISP_CRI_POD_SHIM_H
#define CRISP_CRI_POD_SHIM_H

#include "cri/pod.h"

/* With the pod's lock held, waiting. All do nothing for other pods. */
int pod_shim_start(struct pod *pod, struct error *err);
/* Ends it, also where it does not answer; idempotent. */
int pod_shim_stop(struct pod *pod, struct error *err);

/* After a restart, before the loop runs: makes the shim known, and sees in a task whether it is
 * still there. */
void pod_shim_recover(struct pod *pod);

/* Opens what shims need. Where it fails, handlers of kind shim fail their pods in words. Before
 * node_recover. */
void pod_shim_open(void);
void pod_shim_close(void);

#endif
