/*
 * metric_groups: the words by which the configuration chooses metrics.
 *
 * Pure; any thread.
 */
#ifndef CRISP_CRI_METRIC_GROUPS_H
#define CRISP_CRI_METRIC_GROUPS_H

#include <stdbool.h>

/* stats.pod_metrics: groups of pods' metrics, named as CRI-O's included_pod_metrics. */
enum pod_metric_group {
        POD_METRICS_CPU,
        POD_METRICS_DISK,
        POD_METRICS_DISK_IO,
        POD_METRICS_HUGETLB,
        POD_METRICS_MEMORY,
        POD_METRICS_NETWORK,
        POD_METRICS_OOM,
        POD_METRICS_PROCESS,
        POD_METRICS_SPEC,
        POD_METRICS_PRESSURE,
        POD_METRICS_ALWAYS, /* no word: what is always there */
        POD_METRIC_GROUPS,
};

/* metrics.collectors: parts of the daemon's own metrics. */
enum metric_collector {
        COLLECTOR_CALLS,      /* requests by method */
        COLLECTOR_IMAGES,     /* pulls and the store */
        COLLECTOR_CONTAINERS, /* pods, containers, OOM kills, steps under way */
        COLLECTOR_NETWORK,    /* CNI operations */
        COLLECTOR_PROCESS,    /* the daemon itself, its children, statistics that do not come */
        COLLECTOR_CGROUPS,    /* what each container uses */
        COLLECTOR_LOGS,       /* bytes of containers' logs */
        METRIC_COLLECTORS,
};

#define METRICS_ALL "all" /* a word for each of them */

bool pod_metric_word_is_known(const char *word);
bool collector_word_is_known(const char *word);

/* A bit for each group that the words (strv, or null) name, and for POD_METRICS_ALWAYS. */
unsigned pod_metric_groups_of(char *const *words);
/* A bit for each collector that the words name. */
unsigned collectors_of(char *const *words);

#endif
