/*
 * pod_network: a pod in the words of network/.
 */
#ifndef CRISP_CRI_POD_NETWORK_H
#define CRISP_CRI_POD_NETWORK_H

#include "cri/pod.h"

/* Waits until its network is ready, as long as the configuration says. Task only. */
int pod_network_wait(const struct pod *pod, struct error *err);

/* Calls the CNI plugins for the pod and notes its addresses. Waits. */
int pod_network_attach(struct pod *pod, struct error *err);
/* The opposite. Idempotent; waits. */
int pod_network_detach(struct pod *pod, struct error *err);

#endif
