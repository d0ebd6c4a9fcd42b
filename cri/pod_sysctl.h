/*
 * pod_sysctl: the kernel settings that a pod's namespaces get.
 */
#ifndef CRISP_CRI_POD_SYSCTL_H
#define CRISP_CRI_POD_SYSCTL_H

#include "base/arena.h"
#include "cri/pod.h"
#include "network/namespace.h"

/*
 * What the pod asks for, and what the configuration gives every pod unless the pod sets it itself
 * or shares the namespace with the host. The array and the names are the arena's, the pod's and the
 * configuration's.
 */
struct namespace_sysctl *pod_sysctls(const struct pod *pod, struct arena *arena, size_t *count);

#endif
