/*
 * call_metrics: how many requests came, how long they took and how they ended, by method.
 *
 * Any thread.
 */
#ifndef CRISP_CRI_CALL_METRICS_H
#define CRISP_CRI_CALL_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/histogram.h"

#define CALL_METRICS_METHODS_MAX 128

struct call_metric {
        const char *method; /* a literal */
        struct histogram latency;
        uint64_t errors[ERROR_UNAUTHENTICATED + 1]; /* by code; none of ERROR_OK */
};

/* Counts one. method: the name as in the table of methods, or null for one that nobody knows. */
void call_metrics_note(const char *method, enum error_code code, int64_t nanoseconds);

/* The at-th method that was ever called, from 0; 0 when there are no more, else 1. */
int call_metrics_get(size_t at, struct call_metric *metric);

#endif
