/*
 * facts_private: what the files of oci/facts*.c share. For nobody else.
 */
#ifndef CRISP_OCI_FACTS_PRIVATE_H
#define CRISP_OCI_FACTS_PRIVATE_H

#include "oci/facts.h"

/* {"net.core.somaxconn": "1024"}: of those that linux.sysctl of the specification names, as they
 * are in the process's namespaces; one that cannot be read is left out. */
json_t *facts_sysctls(pid_t pid, const json_t *spec);

/* Puts "devices": ["c 1:3 rwm"], what cgroup v1 allows, or "devicePrograms": N, how many programs
 * of v2 decide. Neither where the kernel does not tell. */
void facts_devices(const struct cgroup_system *system, const char *cgroup_path, json_t *facts);

#endif
