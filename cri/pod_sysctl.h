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

/*
 * Those that are IDs of a pod with a user namespace become the host's, for they are written from
 * there. INVALID_ARGUMENT where one is not mapped.
 */
int pod_sysctls_to_host(const struct pod *pod, struct arena *arena,
                        struct namespace_sysctl *sysctls, size_t count, struct error *err);

#endif
