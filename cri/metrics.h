/*
 * metrics: the daemon's counters and gauges as text.
 *
 * Prometheus' exposition format, version 0.0.4. Counters begin with the daemon. From memory,
 * without waiting. Loop's thread only.
 */
#ifndef CRISP_CRI_METRICS_H
#define CRISP_CRI_METRICS_H

#include "base/buffer.h"

/* Adds all metrics of the node. */
void metrics_write(struct buffer *text);

/* ---- how a metric is written ---- */

enum metric_type { METRIC_COUNTER, METRIC_GAUGE };

/* The HELP and TYPE lines, once before a metric's samples. help is text for people: a backslash or
 * a line feed in it is escaped. */
void metric_head(struct buffer *text, const char *name, enum metric_type type, const char *help);

/* A sample. label is null or its name, then value is its value, any bytes of UTF-8: escaped. */
void metric_sample(struct buffer *text, const char *name, const char *label, const char *value,
                   double number);

#endif
