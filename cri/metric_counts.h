/*
 * metric_counts: what has happened since the daemon's start, where nothing else keeps count.
 *
 * The loop's thread only.
 */
#ifndef CRISP_CRI_METRIC_COUNTS_H
#define CRISP_CRI_METRIC_COUNTS_H

#include <stdint.h>

enum metric_count {
        COUNT_OOM_KILLED,   /* containers that ended so */
        COUNT_ENDED,        /* containers that ended */
        COUNT_ENDED_UNSEEN, /* containers of which nobody knows how: their monitor had gone */
        COUNT_FAILED_TO_START,
        COUNT_STUCK,         /* stops that gave up: see runtime.stop_timeout */
        COUNT_MONITORS_LOST, /* that ended before their containers */
        COUNT_LOG_LINES_LOST,
        COUNT_JOURNAL_LINES_LOST,
        METRIC_COUNTS,
};

extern uint64_t metric_counts[METRIC_COUNTS];

#endif
