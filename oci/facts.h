/*
 * facts: what the kernel says of a container's process, as JSON.
 *
 * - pid: number
 * - namespaces: {"net": {"inode": N, "host": bool}, ...}: host where it is the machine's own
 * - pinned: {PATH: inode}: the namespaces that the specification names by path
 * - cgroups: [{"hierarchy": "memory", "path": "/x", "limits": {FILE: TEXT}}]
 * - cgroupPath: as it was given
 * - devices: ["c 1:3 rwm"] of cgroup v1; or devicePrograms, how many of v2 decide
 * - sysctls: {NAME: TEXT}: those that the specification names, in the process's namespaces
 * - uid, gid: numbers of the effective user and group; groups: [number]
 * - capabilities: {"bounding": ["CAP_CHOWN"], "effective", "permitted", "inheritable", "ambient"}
 * - noNewPrivileges; seccomp: "disabled", "strict", "filter"; label; oomScoreAdj
 * - rlimits: {"RLIMIT_NOFILE": {"soft": N, "hard": N}}; -1 is unlimited
 * - mounts: [{"destination", "type", "source", "options": [...], "readonly": bool}], in the
 *   kernel's order, as the process sees them
 * - root: that of "/" again, with "layers": "12:7:3" where it is an overlay
 * - paths: {PATH: bool}: masked and read-only ones that are there
 */
#ifndef CRISP_OCI_FACTS_H
#define CRISP_OCI_FACTS_H

#include <sys/types.h>

#include "base/error.h"
#include "base/json.h"
#include "oci/cgroup.h"

#define FACTS_FILE_MAX   (1024 * 1024) /* bytes of a file of /proc */
#define FACTS_LIMIT_MAX  4096          /* bytes of a cgroup's file */
#define FACTS_MOUNTS_MAX 4096          /* mounts that are told; an error beyond */

/*
 * *facts (the caller's) of the process, whose container has this specification and cgroup path.
 * NOT_FOUND where it has ended; other errors name the file that cannot be read. Any thread; blocks.
 */
int facts_read(pid_t pid, const struct cgroup_system *system, const char *cgroup_path,
               const json_t *spec, json_t **facts, struct error *err);

#endif
