/*
 * cni_counts: how often CNI plugins were called, how long they took and how often they failed.
 *
 * The loop's thread only.
 */
#ifndef CRISP_NETWORK_CNI_COUNTS_H
#define CRISP_NETWORK_CNI_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"

struct cni_count {
        const char *command; /* "ADD" */
        struct histogram latency;
        uint64_t failures;
};

/* A call of one plugin. What is no command of the specification is not counted. */
void cni_counts_note(const char *command, int64_t nanoseconds, int result);

/* All commands, *count of them. */
const struct cni_count *cni_counts(size_t *count);

#endif
