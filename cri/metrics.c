#include "cri/metrics.h"

#include <math.h>

#include "base/clock.h"
#include "cri/events.h"
#include "cri/node.h"

/* Up to here a double holds every whole number. */
#define WHOLE_MAX 9007199254740992.0

/* ---- how a metric is written ---- */

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
        buffer_printf(text, "# HELP %s ", name);
        add_escaped(text, help, false);
        buffer_printf(text, "\n# TYPE %s %s\n", name, type == METRIC_COUNTER ? "counter" : "gauge");
}

void metric_sample(struct buffer *text, const char *name, const char *label, const char *value,
                   double number)
{
        buffer_add_text(text, name);
        if (label) {
                buffer_printf(text, "{%s=\"", label);
                add_escaped(text, value, true);
                buffer_add_text(text, "\"}");
        }
        /* printf's decimal point follows the locale, which the daemon does not set. */
        if (number == floor(number) && fabs(number) <= WHOLE_MAX)
                buffer_printf(text, " %.0f\n", number);
        else
                buffer_printf(text, " %.17g\n", number);
}

static void single(struct buffer *text, const char *name, enum metric_type type, const char *help,
                   double number)
{
        metric_head(text, name, type, help);
        metric_sample(text, name, NULL, NULL, number);
}

/* ---- what there is ---- */

static void write_pulls(struct buffer *text)
{
        struct pull_counts counts;
        struct pull_progress progress;
        size_t under_way = 0;

        pull_counts(node.puller, &counts);
        while (pull_next(node.puller, &under_way, &progress))
                continue;
        single(text, "crisp_image_pulls_started_total", METRIC_COUNTER,
               "Pulls of images that were begun.", (double)counts.started);
        single(text, "crisp_image_pulls_joined_total", METRIC_COUNTER,
               "Requests for an image that joined a pull under way.", (double)counts.joined);
        metric_head(text, "crisp_image_pulls_ended_total", METRIC_COUNTER,
                    "Pulls of images that have ended, by result.");
        metric_sample(text, "crisp_image_pulls_ended_total", "result", "succeeded",
                      (double)counts.succeeded);
        metric_sample(text, "crisp_image_pulls_ended_total", "result", "failed",
                      (double)counts.failed);
        metric_sample(text, "crisp_image_pulls_ended_total", "result", "cancelled",
                      (double)counts.cancelled);
        single(text, "crisp_image_pulls_under_way", METRIC_GAUGE,
               "Pulls of images under way, with those that wait for a turn.", (double)under_way);
        single(text, "crisp_image_pull_bytes_total", METRIC_COUNTER,
               "Compressed bytes of layers that were fetched.", (double)counts.bytes);
        metric_head(text, "crisp_bound_reached_total", METRIC_COUNTER,
                    "How often a bound of the configuration was reached, by its key.");
        metric_sample(text, "crisp_bound_reached_total", "bound", "images.max_parallel_pulls",
                      (double)counts.queued);
}

static void write_store(struct buffer *text)
{
        struct store_usage usage;

        store_usage(node.images, &usage);
        single(text, "crisp_images", METRIC_GAUGE, "Images in the store.", (double)usage.images);
        single(text, "crisp_image_layers", METRIC_GAUGE,
               "Layers in the store; each counts once, however many images share it.",
               (double)usage.layers);
        single(text, "crisp_image_store_bytes", METRIC_GAUGE,
               "Bytes of the contents of the store's layers.", (double)usage.bytes);
        single(text, "crisp_image_store_inodes", METRIC_GAUGE,
               "Files, folders and links in the store's layers.", (double)usage.inodes);
}

static void write_events(struct buffer *text)
{
        static const char *const kinds[] = {[EVENT_CREATED] = "created",
                                            [EVENT_STARTED] = "started",
                                            [EVENT_STOPPED] = "stopped",
                                            [EVENT_DELETED] = "deleted"};
        struct events_counts counts;

        events_count(&counts);
        metric_head(text, "crisp_events_total", METRIC_COUNTER,
                    "Events of pods and containers, whoever listened, by type.");
        for (int kind = EVENT_CREATED; kind <= EVENT_DELETED; kind++)
                metric_sample(text, "crisp_events_total", "type", kinds[kind],
                              (double)counts.told[kind]);
        metric_head(text, "crisp_events_dropped_total", METRIC_COUNTER,
                    "Events that a client did not get: it was too slow and its stream was ended, "
                    "or too many came before it.");
        metric_sample(text, "crisp_events_dropped_total", "reason", "slow_client",
                      (double)counts.dropped_slow);
        metric_sample(text, "crisp_events_dropped_total", "reason", "no_client",
                      (double)counts.dropped_unheard);
        single(text, "crisp_event_clients", METRIC_GAUGE, "Clients of GetContainerEvents.",
               (double)counts.clients);
}

void metrics_write(struct buffer *text)
{
        metric_head(text, "crisp_build_info", METRIC_GAUGE, "Always 1; its label is the version.");
        metric_sample(text, "crisp_build_info", "version", CRISP_VERSION, 1);
        write_pulls(text);
        write_store(text);
        write_events(text);
        single(text, "crisp_pods", METRIC_GAUGE, "Pods that the daemon keeps.",
               (double)table_size(node.pods));
        single(text, "crisp_containers", METRIC_GAUGE, "Containers that the daemon keeps.",
               (double)table_size(node.containers));
}
