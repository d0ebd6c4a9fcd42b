/*
 * process_stats: what the processes of a container hold open.
 *
 * From /proc, for metrics alone: a look at each process costs more than all of a cgroup's files.
 * Blocks; any thread.
 */
#ifndef CRISP_OCI_PROCESS_STATS_H
#define CRISP_OCI_PROCESS_STATS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/cgroup.h"

/* What is looked at of one container; beyond that the numbers are too small. */
#define PROCESS_STATS_PROCESSES_MAX   1000
#define PROCESS_STATS_DESCRIPTORS_MAX 10000

struct process_stats {
        bool known;
        uint64_t processes;
        uint64_t descriptors;
        uint64_t sockets;
        bool open_files_known;
        uint64_t open_files_soft; /* of the first process; UINT64_MAX is unlimited */
};

/* Of the processes in the cgroup and below it; pid is the container's first. */
void process_stats_read(const struct cgroup_system *system, const char *path, pid_t pid,
                        struct process_stats *stats);

/* The soft limit of "Max open files" in the text of /proc/PID/limits. */
bool process_stats_parse_limits(const char *text, uint64_t *soft);

#endif
