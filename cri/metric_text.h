/*
 * metric_text: metrics as Prometheus reads them.
 *
 * Its exposition format, version 0.0.4. Pure; any thread.
 */
#ifndef CRISP_CRI_METRIC_TEXT_H
#define CRISP_CRI_METRIC_TEXT_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/histogram.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM, METRIC_SUMMARY };

/* The HELP and TYPE lines, once before a metric's samples. help is text for people: a backslash or
 * a line feed in it is escaped. */
void metric_head(struct buffer *text, const char *name, enum metric_type type, const char *help);

struct metric_label {
        const char *name;
        const char *value; /* any bytes of UTF-8: escaped; null counts as empty */
};

/* A sample with count labels. */
void metric_labelled(struct buffer *text, const char *name, const struct metric_label *labels,
                     size_t count, double number);

/* The same with one label, or with none where label is null. */
void metric_sample(struct buffer *text, const char *name, const char *label, const char *value,
                   double number);

/* Head and sample of a metric that has no labels. */
void metric_single(struct buffer *text, const char *name, enum metric_type type, const char *help,
                   double number);

/* The samples of a histogram, in seconds, with one label. */
void metric_histogram(struct buffer *text, const char *name, const char *label, const char *value,
                      const struct histogram *histogram);

#endif
