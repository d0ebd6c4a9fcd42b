#include "cri/metric_groups.h"

#include <stddef.h>
#include <string.h>

static const char *const group_words[POD_METRIC_GROUPS] = {
        [POD_METRICS_CPU] = "cpu",        [POD_METRICS_DISK] = "disk",
        [POD_METRICS_DISK_IO] = "diskIO", [POD_METRICS_HUGETLB] = "hugetlb",
        [POD_METRICS_MEMORY] = "memory",  [POD_METRICS_NETWORK] = "network",
        [POD_METRICS_OOM] = "oom",        [POD_METRICS_PROCESS] = "process",
        [POD_METRICS_SPEC] = "spec",      [POD_METRICS_PRESSURE] = "pressure",
};

static const char *const collector_words[METRIC_COLLECTORS] = {
        [COLLECTOR_CALLS] = "calls",
        [COLLECTOR_IMAGES] = "images",
        [COLLECTOR_CONTAINERS] = "containers",
        [COLLECTOR_NETWORK] = "network",
        [COLLECTOR_PROCESS] = "process",
        [COLLECTOR_CGROUPS] = "cgroups",
        [COLLECTOR_LOGS] = "logs",
};

/* The bit of a word, all of them for METRICS_ALL; 0 for others. */
static unsigned bits_of(const char *const *words, unsigned count, const char *word)
{
        if (strcmp(word, METRICS_ALL) == 0)
                return (1u << count) - 1;
        for (unsigned i = 0; i < count; i++)
                if (words[i] && strcmp(words[i], word) == 0)
                        return 1u << i;
        return 0;
}

static unsigned all_bits(const char *const *words, unsigned count, char *const *chosen)
{
        unsigned bits = 0;
        for (; chosen && *chosen; chosen++)
                bits |= bits_of(words, count, *chosen);
        return bits;
}

bool pod_metric_word_is_known(const char *word)
{
        return bits_of(group_words, POD_METRIC_GROUPS, word) != 0;
}

bool collector_word_is_known(const char *word)
{
        return bits_of(collector_words, METRIC_COLLECTORS, word) != 0;
}

unsigned pod_metric_groups_of(char *const *words)
{
        return all_bits(group_words, POD_METRIC_GROUPS, words) | 1u << POD_METRICS_ALWAYS;
}

unsigned collectors_of(char *const *words)
{
        return all_bits(collector_words, METRIC_COLLECTORS, words);
}
