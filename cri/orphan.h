/*
 * orphan: what still runs of pods and containers whose records cannot be read.
 *
 * Without its record nobody could see, stop or remove it, and the kubelet makes another one in its
 * place: so it is ended. All that is needed is its id. Addresses and rules of such pods go with
 * those of all pods that are not there any more (network_gc).
 */
#ifndef CRISP_CRI_ORPHAN_H
#define CRISP_CRI_ORPHAN_H

/* Each starts a task and returns at once; what fails is logged. id is copied. */
void orphan_end_container(const char *id);
void orphan_end_pod(const char *id);

#endif
