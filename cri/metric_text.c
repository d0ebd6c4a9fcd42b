#include "cri/metric_text.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/clock.h"

/* Up to here a double holds every whole number. */
#define WHOLE_MAX 9007199254740992.0

static void add_escaped(struct buffer *text, const char *value, bool quoted)
{
        for (; *value; value++) {
                if (*value == '\\')
                        buffer_add_text(text, "\\\\");
                else if (*value == '\n')
                        buffer_add_text(text, "\\n");
                else if (*value == '"' && quoted)
                        buffer_add_text(text, "\\\"");
                else
                        buffer_add(text, value, 1);
        }
}

void metric_head(struct buffer *text, const char *name, enum metric_type type, const char *help)
{
        static const char *const words[] = {[METRIC_COUNTER] = "counter",
                                            [METRIC_GAUGE] = "gauge",
                                            [METRIC_HISTOGRAM] = "histogram",
                                            [METRIC_SUMMARY] = "summary"};
        buffer_printf(text, "# HELP %s ", name);
        add_escaped(text, help, false);
        buffer_printf(text, "\n# TYPE %s %s\n", name, words[type]);
}

static void add_number(struct buffer *text, double number)
{
        /* printf's decimal point follows the locale, which the daemon does not set. */
        if (number == floor(number) && fabs(number) <= WHOLE_MAX)
                buffer_printf(text, " %.0f\n", number);
        else
                buffer_printf(text, " %.17g\n", number);
}

void metric_labelled(struct buffer *text, const char *name, const struct metric_label *labels,
                     size_t count, double number)
{
        buffer_add_text(text, name);
        for (size_t i = 0; i < count; i++) {
                buffer_printf(text, "%s%s=\"", i ? "," : "{", labels[i].name);
                add_escaped(text, labels[i].value ? labels[i].value : "", true);
                buffer_add_text(text, "\"");
        }
        buffer_add_text(text, count ? "}" : "");
        add_number(text, number);
}

void metric_sample(struct buffer *text, const char *name, const char *label, const char *value,
                   double number)
{
        struct metric_label one = {label, value};
        metric_labelled(text, name, &one, label != NULL, number);
}

void metric_single(struct buffer *text, const char *name, enum metric_type type, const char *help,
                   double number)
{
        metric_head(text, name, type, help);
        metric_labelled(text, name, NULL, 0, number);
}

void metric_histogram(struct buffer *text, const char *name, const char *label, const char *value,
                      const struct histogram *histogram)
{
        AUTO_BUFFER struct buffer part = BUFFER_INIT;
        char bound[32];
        buffer_printf(&part, "%s_bucket", name);
        struct metric_label labels[] = {{label, value}, {"le", bound}};
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
                snprintf(bound, sizeof bound, "%g",
                         (double)histogram_bounds[i] / (double)NSEC_PER_SEC);
                metric_labelled(text, part.data, labels, 2, (double)histogram->upto[i]);
        }
        snprintf(bound, sizeof bound, "+Inf");
        metric_labelled(text, part.data, labels, 2, (double)histogram->count);
        buffer_fini(&part);
        buffer_printf(&part, "%s_sum", name);
        metric_sample(text, part.data, label, value, (double)histogram->sum / (double)NSEC_PER_SEC);
        buffer_fini(&part);
        buffer_printf(&part, "%s_count", name);
        metric_sample(text, part.data, label, value, (double)histogram->count);
}
