/*
 * holder: starting crisp-pause, the first process of a pod's shared PID namespace
 * (conmon/holder.h).
 */
#ifndef CRISP_OCI_HOLDER_H
#define CRISP_OCI_HOLDER_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "oci/cpu_list.h"

struct holder_start_options {
        const char *program; /* absolute path of crisp-pause */
        const char *user;    /* the pod's pinned user namespace, which owns the others, or null */
        const char *net;     /* the pod's pinned namespaces to enter, or null */
        const char *ipc;
        const char *uts;
        int cgroup_fd;                      /* cgroup v2 folder to start in, or -1 */
        const char *const *cgroup_v1_tasks; /* as in struct process_options, or null */
        const struct cpu_list *processors;  /* to run on, or null for all */
        int64_t deadline;                   /* monotonic ns */
};

/*
 * Starts a holder. *pid and *start_time (as of process_start_time()) name the namespace's first
 * process, which runs until it is killed with SIGKILL and is no child of ours: /proc/PID/ns/pid is
 * the namespace. Nothing is left on failure. Task only; waits.
 */
int holder_start(const struct holder_start_options *options, pid_t *pid, uint64_t *start_time,
                 struct error *err);

#endif
