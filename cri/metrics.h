/*
 * metrics: the daemon's own counters and gauges as text, as Prometheus reads them.
 *
 * Counters begin with the daemon. Loop's thread only.
 */
#ifndef CRISP_CRI_METRICS_H
#define CRISP_CRI_METRICS_H

#include "base/buffer.h"
#include "cri/container.h"

/* Adds the metrics of the collectors that the configuration names. From a task; waits for what is
 * not in memory. */
void metrics_write(struct buffer *text);

/* A sample for a container, with its namespace, pod, name and id as labels. */
void metrics_container_sample(struct buffer *text, const char *name,
                              const struct container *container, double number);

#endif
