/*
 * namespace: a pod's namespaces as files.
 *
 * A namespace lives as long as a process is in it or a mount holds it. A pod's are held by bind
 * mounts of /proc/PID/ns/KIND onto files DIRECTORY/{user,net,ipc,uts}, so a pod needs no process of
 * its own to exist.
 *
 * Everything here blocks (mounts, a thread of its own); from a task go through task_offload. Any
 * thread, except as said.
 */
#ifndef CRISP_NETWORK_NAMESPACE_H
#define CRISP_NETWORK_NAMESPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define NAMESPACE_SYSCTLS_MAX      256
#define NAMESPACE_SYSCTL_NAME_MAX  256  /* bytes with the final zero */
#define NAMESPACE_SYSCTL_VALUE_MAX 4096 /* what the kernel takes in one write */
#define NAMESPACE_HOSTNAME_MAX     64   /* bytes, the kernel's __NEW_UTS_LEN */

struct namespace_sysctl {
        const char *name; /* net.ipv4.ip_forward or net/ipv4/ip_forward */
        const char *value;
        bool optional; /* passed over where the kernel has no such setting */
};

/* A user namespace that owns the others. */
struct namespace_users {
        const char *program; /* absolute: with the argument --wait it does nothing until its
                                standard input ends */
        const char *uid_map; /* as the kernel takes it: lines of "CONTAINER HOST LENGTH" */
        const char *gid_map;
        uid_t root; /* the host's, of its 0 */
};

struct namespace_options {
        const char *directory;               /* made with its parents when missing, mode 0711 */
        const struct namespace_users *users; /* null is the host's. The others are made inside it */
        bool network;                        /* with `lo` up */
        bool ipc;
        bool uts;
        const char *hostname; /* null or empty keeps the host's; without uts it is not set */
        const struct namespace_sysctl *sysctls;
        size_t sysctl_count;
};

/*
 * Makes the namespaces that are asked for and pins each. After a failure nothing is left, and the
 * message names the step. A namespace that is pinned there already by an earlier, interrupted try
 * is taken away first. INVALID_ARGUMENT for a sysctl that is malformed, belongs to no namespace or
 * to one that the pod shares with the host, or whose value the kernel refuses. Sysctls that are IDs
 * are the host's. FAILED_PRECONDITION where the kernel makes no user namespaces.
 */
int namespace_pin(const struct namespace_options *options, struct error *err);

/*
 * Unmounts and removes every pin in directory, and the directory. Idempotent; mends what a crashed
 * namespace_pin or namespace_unpin left. Only entries named as namespaces are touched; a directory
 * with anything else in it stays.
 */
int namespace_unpin(const char *directory, struct error *err);

/* Whether path is a pin that still holds a namespace. Two cheap system calls that do not block:
 * also from the loop. */
bool namespace_is_pinned(const char *path);

/*
 * Pins the namespace of kind ("pid", "net", "ipc", "uts", "mnt", "user", "cgroup") that process pid
 * is in at path. The folder of path is made when missing; a pin that is there is replaced. The
 * caller holds pid alive (a pidfd does not suffice): a reaped pid's number may be somebody else's.
 */
int namespace_pin_process(pid_t pid, const char *kind, const char *path, struct error *err);

/*
 * Whether this process's mount namespace is also that of process 1. If not (a service unit with
 * PrivateTmp and the like) every pin dies with the daemon. True also where /proc does not tell.
 * Does not block.
 */
bool namespace_mounts_are_shared_with_init(void);

/* Whether two names are the same setting's, with dots or slashes. False where one is malformed. */
bool namespace_sysctl_is(const char *name, const char *other);

/*
 * Goes into the mount namespace that is pinned at path, for good. Only a process with one thread
 * may. FAILED_PRECONDITION where there is none.
 */
int namespace_join_mounts(const char *path, struct error *err);

/*
 * Checks a sysctl's name without doing anything: 0 when it belongs to the network namespace and
 * network is set, or to the IPC namespace and ipc is set; else INVALID_ARGUMENT saying why. Does
 * not block.
 */
int namespace_check_sysctl(const char *name, bool network, bool ipc, struct error *err);

#endif
