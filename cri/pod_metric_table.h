/*
 * pod_metric_table: which metrics of pods and containers there are.
 *
 * cAdvisor's names, as dashboards for Kubernetes know them, with the labels that CRI-O and
 * containerd give them. Values are whole numbers in the CRI, so what is named in seconds is told in
 * whole seconds. Constant; any thread.
 */
#ifndef CRISP_CRI_POD_METRIC_TABLE_H
#define CRISP_CRI_POD_METRIC_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "cri/metric_groups.h"

enum pod_metric_id {
        METRIC_LAST_SEEN,

        METRIC_CPU_USER,
        METRIC_CPU_SYSTEM,
        METRIC_CPU_USAGE,
        METRIC_CPU_PERIODS,
        METRIC_CPU_THROTTLED_PERIODS,
        METRIC_CPU_THROTTLED,

        METRIC_FS_INODES_FREE,
        METRIC_FS_INODES_TOTAL,
        METRIC_FS_LIMIT,
        METRIC_FS_USAGE,

        METRIC_FS_READ_BYTES,
        METRIC_FS_READS,
        METRIC_FS_WRITE_BYTES,
        METRIC_FS_WRITES,
        METRIC_BLKIO_USAGE,

        METRIC_HUGETLB_USAGE,
        METRIC_HUGETLB_USAGE_MAX,
        METRIC_HUGETLB_FAILURES,

        METRIC_MEMORY_CACHE,
        METRIC_MEMORY_RSS,
        METRIC_MEMORY_KERNEL,
        METRIC_MEMORY_MAPPED_FILE,
        METRIC_MEMORY_SWAP,
        METRIC_MEMORY_FAILURES,
        METRIC_MEMORY_USAGE,
        METRIC_MEMORY_USAGE_MAX,
        METRIC_MEMORY_WORKING_SET,
        METRIC_MEMORY_ACTIVE_FILE,
        METRIC_MEMORY_INACTIVE_FILE,
        METRIC_MEMORY_FAULTS,

        METRIC_NETWORK_RX_BYTES,
        METRIC_NETWORK_RX_PACKETS,
        METRIC_NETWORK_RX_DROPPED,
        METRIC_NETWORK_RX_ERRORS,
        METRIC_NETWORK_TX_BYTES,
        METRIC_NETWORK_TX_PACKETS,
        METRIC_NETWORK_TX_DROPPED,
        METRIC_NETWORK_TX_ERRORS,

        METRIC_OOM_EVENTS,

        METRIC_PROCESSES,
        METRIC_FILE_DESCRIPTORS,
        METRIC_SOCKETS,
        METRIC_THREADS,
        METRIC_THREADS_MAX,
        METRIC_ULIMITS,

        METRIC_SPEC_CPU_PERIOD,
        METRIC_SPEC_CPU_SHARES,
        METRIC_SPEC_CPU_QUOTA,
        METRIC_SPEC_MEMORY_LIMIT,
        METRIC_SPEC_MEMORY_RESERVATION,
        METRIC_SPEC_MEMORY_SWAP,
        METRIC_START_TIME,

        METRIC_PRESSURE_CPU_STALLED,
        METRIC_PRESSURE_CPU_WAITING,
        METRIC_PRESSURE_MEMORY_STALLED,
        METRIC_PRESSURE_MEMORY_WAITING,
        METRIC_PRESSURE_IO_STALLED,
        METRIC_PRESSURE_IO_WAITING,

        POD_METRIC_COUNT,
};

/* Labels that each metric has: their values come first, in this order. */
#define POD_METRIC_BASE_LABELS 5 /* id, image, namespace, pod, container */
extern const char *const pod_metric_base_labels[POD_METRIC_BASE_LABELS];

#define POD_METRIC_LABELS_MAX 4 /* of its own */

struct pod_metric {
        const char *name, *help;
        enum pod_metric_group group;
        bool counter;                              /* else a gauge */
        const char *labels[POD_METRIC_LABELS_MAX]; /* of its own; null from the last on */
};

extern const struct pod_metric pod_metric_table[POD_METRIC_COUNT];

size_t pod_metric_label_count(enum pod_metric_id id); /* of its own */

#endif
