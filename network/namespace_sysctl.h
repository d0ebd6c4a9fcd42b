/*
 * namespace_sysctl: the kernel settings that belong to a namespace.
 */
#ifndef CRISP_NETWORK_NAMESPACE_SYSCTL_H
#define CRISP_NETWORK_NAMESPACE_SYSCTL_H

#include "base/error.h"
#include "network/namespace.h"

/* Writes a checked sysctl in the namespaces of the calling thread. Blocks. INVALID_ARGUMENT where
 * the kernel refuses it. */
int namespace_write_sysctl(const struct namespace_sysctl *sysctl, struct error *err);

#endif
