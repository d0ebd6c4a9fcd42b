#include "cri/metrics.h"

#include "base/clock.h"
#include "cri/call_metrics.h"
#include "cri/container.h"
#include "cri/events.h"
#include "cri/metric_counts.h"
#include "cri/metric_groups.h"
#include "cri/metric_text.h"
#include "cri/metrics_machine.h"
#include "cri/node.h"
#include "cri/seccomp_notifier.h"
#include "cri/stream/server.h"
#include "cri/stats.h"
#include "network/cni_counts.h"

#define SECONDS(nanoseconds) ((double)(nanoseconds) / (double)NSEC_PER_SEC)

/* ---- images ---- */

static void write_pulls(struct buffer *text)
{
        struct pull_counts counts;
        struct pull_progress progress;
        size_t under_way = 0;

        pull_counts(node.puller, &counts);
        while (pull_next(node.puller, &under_way, &progress))
                continue;
        metric_single(text, "crisp_image_pulls_started_total", METRIC_COUNTER,
                      "Pulls of images that were begun.", (double)counts.started);
        metric_single(text, "crisp_image_pulls_joined_total", METRIC_COUNTER,
                      "Requests for an image that joined a pull under way.", (double)counts.joined);
        metric_head(text, "crisp_image_pulls_ended_total", METRIC_COUNTER,
                    "Pulls of images that have ended, by result.");
        metric_sample(text, "crisp_image_pulls_ended_total", "result", "succeeded",
                      (double)counts.succeeded);
        metric_sample(text, "crisp_image_pulls_ended_total", "result", "failed",
                      (double)counts.failed);
        metric_sample(text, "crisp_image_pulls_ended_total", "result", "cancelled",
                      (double)counts.cancelled);
        metric_single(text, "crisp_image_pulls_under_way", METRIC_GAUGE,
                      "Pulls of images under way, with those that wait for a turn.",
                      (double)under_way);
        metric_single(text, "crisp_image_pull_bytes_total", METRIC_COUNTER,
                      "Compressed bytes of layers that were fetched.", (double)counts.bytes);
        metric_single(text, "crisp_image_layers_shared_total", METRIC_COUNTER,
                      "Layers that a pull waited for while another one fetched them.",
                      (double)counts.shared);
        metric_single(text, "crisp_image_layers_overtaken_total", METRIC_COUNTER,
                      "Layers that a pull did not wait for any longer, since the other one was too "
                      "slow.",
                      (double)counts.overtaken);
        metric_head(text, "crisp_bound_reached_total", METRIC_COUNTER,
                    "How often a bound of the configuration was reached, by its key.");
        metric_sample(text, "crisp_bound_reached_total", "bound", "images.max_parallel_pulls",
                      (double)counts.queued);
        metric_sample(text, "crisp_bound_reached_total", "bound", "runtime.stop_timeout",
                      (double)metric_counts[COUNT_STUCK]);
}

static void write_store(struct buffer *text)
{
        struct store_usage usage;

        store_usage(node.images, &usage);
        metric_single(text, "crisp_images", METRIC_GAUGE, "Images in the store.",
                      (double)usage.images);
        metric_single(text, "crisp_image_layers", METRIC_GAUGE,
                      "Layers in the store; each counts once, however many images share it.",
                      (double)usage.layers);
        metric_single(text, "crisp_image_store_bytes", METRIC_GAUGE,
                      "Bytes of the contents of the store's layers.", (double)usage.bytes);
        metric_single(text, "crisp_image_store_inodes", METRIC_GAUGE,
                      "Files, folders and links in the store's layers.", (double)usage.inodes);
}

/* ---- requests ---- */

static uint64_t error_count(const struct call_metric *call)
{
        uint64_t count = 0;
        for (size_t code = 0; code <= ERROR_UNAUTHENTICATED; code++)
                count += call->errors[code];
        return count;
}

static void write_calls(struct buffer *text)
{
        struct call_metric call;
        metric_head(text, "crisp_request_seconds", METRIC_HISTOGRAM,
                    "Time until a request was answered, by method.");
        for (size_t i = 0; call_metrics_get(i, &call); i++)
                metric_histogram(text, "crisp_request_seconds", "method", call.method,
                                 &call.latency);
        metric_head(text, "crisp_request_errors_total", METRIC_COUNTER,
                    "Requests that were answered with an error, by method and code.");
        for (size_t i = 0; call_metrics_get(i, &call); i++)
                for (enum error_code code = 0; code <= ERROR_UNAUTHENTICATED; code++) {
                        struct metric_label labels[] = {{"method", call.method},
                                                        {"code", error_code_name(code)}};
                        if (call.errors[code])
                                metric_labelled(text, "crisp_request_errors_total", labels, 2,
                                                (double)call.errors[code]);
                }
}

/* ---- pods and containers ---- */

static void write_ends(struct buffer *text)
{
        metric_single(text, "crisp_containers_ended_total", METRIC_COUNTER,
                      "Containers that have ended.", (double)metric_counts[COUNT_ENDED]);
        metric_single(text, "crisp_containers_oom_killed_total", METRIC_COUNTER,
                      "Containers that ended for want of memory.",
                      (double)metric_counts[COUNT_OOM_KILLED]);
        metric_single(text, "crisp_containers_ended_unseen_total", METRIC_COUNTER,
                      "Containers that ended without their monitor telling how.",
                      (double)metric_counts[COUNT_ENDED_UNSEEN]);
        metric_single(text, "crisp_containers_failed_to_start_total", METRIC_COUNTER,
                      "Containers that did not start.",
                      (double)metric_counts[COUNT_FAILED_TO_START]);
        metric_single(text, "crisp_monitors_lost_total", METRIC_COUNTER,
                      "Monitors that ended before their containers.",
                      (double)metric_counts[COUNT_MONITORS_LOST]);
        metric_head(text, "crisp_container_lines_lost_total", METRIC_COUNTER,
                    "Lines of containers that have ended which could not be written, by where to.");
        metric_sample(text, "crisp_container_lines_lost_total", "to", "log",
                      (double)metric_counts[COUNT_LOG_LINES_LOST]);
        metric_sample(text, "crisp_container_lines_lost_total", "to", "journald",
                      (double)metric_counts[COUNT_JOURNAL_LINES_LOST]);
}

static void write_states(struct buffer *text)
{
        static const char *const words[] = {
                [CONTAINER_CREATING] = "creating", [CONTAINER_CREATED] = "created",
                [CONTAINER_STARTING] = "starting", [CONTAINER_RUNNING] = "running",
                [CONTAINER_EXITED] = "exited",
        };
        size_t counts[CONTAINER_REMOVED + 1] = {0}, cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                counts[each->phase]++;
        metric_head(text, "crisp_containers_by_state", METRIC_GAUGE, "Containers, by their state.");
        for (size_t i = 0; i < CONTAINER_REMOVED; i++)
                metric_sample(text, "crisp_containers_by_state", "state", words[i],
                              (double)counts[i]);
}

#define STEPS_MAX 64 /* different ones; steps are literals of ours */

struct step {
        const char *kind, *name;
        size_t count;
        int64_t oldest; /* real ns */
};

struct steps {
        struct step list[STEPS_MAX];
        size_t count;
};

static void add_step(struct steps *steps, const char *kind, const char *name, int64_t since)
{
        if (!name)
                return;
        size_t i = 0;
        while (i < steps->count && (steps->list[i].kind != kind || steps->list[i].name != name))
                i++;
        if (i == STEPS_MAX)
                return;
        if (i == steps->count)
                steps->list[steps->count++] = (struct step){kind, name, 0, since};
        steps->list[i].count++;
        if (since < steps->list[i].oldest)
                steps->list[i].oldest = since;
}

static void write_steps(struct buffer *text)
{
        static const char pod_kind[] = "pod", container_kind[] = "container";
        struct steps steps = {0};
        size_t cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                add_step(&steps, pod_kind, each->step, each->step_since);
        cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                add_step(&steps, container_kind, each->step, each->step_since);
        int64_t now = clock_real();
        metric_head(text, "crisp_steps", METRIC_GAUGE,
                    "Pods and containers that something is being done with, by the step.");
        for (size_t i = 0; i < steps.count; i++) {
                const struct step *step = &steps.list[i];
                struct metric_label labels[] = {{"kind", step->kind}, {"step", step->name}};
                metric_labelled(text, "crisp_steps", labels, 2, (double)step->count);
        }
        metric_head(text, "crisp_step_oldest_seconds", METRIC_GAUGE,
                    "How long the oldest of them has been in that step.");
        for (size_t i = 0; i < steps.count; i++) {
                const struct step *step = &steps.list[i];
                struct metric_label labels[] = {{"kind", step->kind}, {"step", step->name}};
                metric_labelled(text, "crisp_step_oldest_seconds", labels, 2,
                                SECONDS(now - step->oldest));
        }
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
        metric_single(text, "crisp_event_clients", METRIC_GAUGE, "Clients of GetContainerEvents.",
                      (double)counts.clients);
}

static void write_containers(struct buffer *text)
{
        metric_single(text, "crisp_pods", METRIC_GAUGE, "Pods that the daemon keeps.",
                      (double)table_size(node.pods));
        metric_single(text, "crisp_containers", METRIC_GAUGE, "Containers that the daemon keeps.",
                      (double)table_size(node.containers));
        write_states(text);
        write_ends(text);
        write_steps(text);
        write_events(text);
        seccomp_notifier_write_metrics(text);
        stream_server_metrics(text);
}

/* ---- plugins ---- */

static void write_network(struct buffer *text)
{
        size_t count;
        const struct cni_count *counts = cni_counts(&count);
        metric_head(text, "crisp_cni_plugin_seconds", METRIC_HISTOGRAM,
                    "Time that a CNI plugin took, by command.");
        for (size_t i = 0; i < count; i++)
                if (counts[i].latency.count)
                        metric_histogram(text, "crisp_cni_plugin_seconds", "command",
                                         counts[i].command, &counts[i].latency);
        metric_head(text, "crisp_cni_plugin_failures_total", METRIC_COUNTER,
                    "CNI plugins that failed, by command.");
        for (size_t i = 0; i < count; i++)
                if (counts[i].latency.count)
                        metric_sample(text, "crisp_cni_plugin_failures_total", "command",
                                      counts[i].command, (double)counts[i].failures);
}

/* ---- what containers use ---- */

static void read_running(void)
{
        struct arena *arena = arena_new();
        struct stats_pods pods = {
                .pods = arena_array(arena, table_size(node.pods) + 1, sizeof(*pods.pods))};
        size_t cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                if (stats_pod_is_asked(each))
                        pods.pods[pods.count++] = pod_ref(each);
        stats_read_pods(pods.pods, pods.count, STATS_PARTS_BASIC, 0);
        stats_pods_unref(&pods);
        arena_free(arena);
}

struct use {
        const char *name, *help;
        enum metric_type type;
        double (*value)(const struct cgroup_stats *stats);
};

static double cpu_of(const struct cgroup_stats *stats)
{
        return SECONDS(stats->cpu_usage);
}

static double memory_of(const struct cgroup_stats *stats)
{
        return (double)stats->memory_usage;
}

static double working_set_of(const struct cgroup_stats *stats)
{
        return (double)cgroup_working_set(stats);
}

static double pids_of(const struct cgroup_stats *stats)
{
        return (double)stats->pids;
}

static const struct use uses[] = {
        {"crisp_container_cpu_seconds_total", "Processor time of a container.", METRIC_COUNTER,
         cpu_of},
        {"crisp_container_memory_bytes", "Memory of a container, with its page cache.",
         METRIC_GAUGE, memory_of},
        {"crisp_container_memory_working_set_bytes",
         "Memory of a container without inactive page cache.", METRIC_GAUGE, working_set_of},
        {"crisp_container_pids", "Processes and threads of a container.", METRIC_GAUGE, pids_of},
};

void metrics_container_sample(struct buffer *text, const char *name,
                              const struct container *container, double number)
{
        const Runtime__V1__PodSandboxMetadata *pod = pod_config(container->pod)->metadata;
        struct metric_label labels[] = {
                {"namespace", pod->namespace_},
                {"pod", pod->name},
                {"container", container_config(container)->metadata->name},
                {"id", container->id},
        };
        metric_labelled(text, name, labels, sizeof labels / sizeof *labels, number);
}

static void write_cgroups(struct buffer *text)
{
        read_running();
        for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
                size_t cursor = 0;
                metric_head(text, uses[i].name, uses[i].type, uses[i].help);
                for (struct container *each; (each = table_next(node.containers, &cursor, NULL));) {
                        const struct stats_reading *last =
                                each->stats ? stats_source_last(each->stats) : NULL;
                        if (last && each->phase == CONTAINER_RUNNING)
                                metrics_container_sample(text, uses[i].name, each,
                                                         uses[i].value(&last->stats));
                }
        }
}

/* ---- under CRI-O's names ---- */

#define CRIO "container_runtime_crio_"

static void write_crio_calls(struct buffer *text)
{
        struct call_metric call;
        metric_head(text, CRIO "operations_total", METRIC_COUNTER, "Requests, by method.");
        for (size_t i = 0; call_metrics_get(i, &call); i++)
                metric_sample(text, CRIO "operations_total", "operation", call.method,
                              (double)call.latency.count);
        metric_head(text, CRIO "operations_errors_total", METRIC_COUNTER,
                    "Requests that were answered with an error, by method.");
        for (size_t i = 0; call_metrics_get(i, &call); i++)
                if (error_count(&call))
                        metric_sample(text, CRIO "operations_errors_total", "operation",
                                      call.method, (double)error_count(&call));
        metric_head(text, CRIO "operations_latency_seconds_total", METRIC_SUMMARY,
                    "Time until a request was answered, by method.");
        for (size_t i = 0; call_metrics_get(i, &call); i++) {
                metric_sample(text, CRIO "operations_latency_seconds_total_sum", "operation",
                              call.method, SECONDS(call.latency.sum));
                metric_sample(text, CRIO "operations_latency_seconds_total_count", "operation",
                              call.method, (double)call.latency.count);
        }
}

static void write_crio_names(struct buffer *text, unsigned collectors)
{
        struct pull_counts pulls;
        if (collectors & 1u << COLLECTOR_CALLS)
                write_crio_calls(text);
        if (collectors & 1u << COLLECTOR_IMAGES) {
                pull_counts(node.puller, &pulls);
                metric_single(text, CRIO "image_pulls_success_total", METRIC_COUNTER,
                              "Pulls of images that succeeded.", (double)pulls.succeeded);
                metric_head(text, CRIO "image_pulls_failure_total", METRIC_COUNTER,
                            "Pulls of images that failed.");
                metric_sample(text, CRIO "image_pulls_failure_total", "error", "UNKNOWN",
                              (double)pulls.failed);
        }
        if (collectors & 1u << COLLECTOR_CONTAINERS) {
                metric_single(text, CRIO "containers_oom_total", METRIC_COUNTER,
                              "Containers that ended for want of memory.",
                              (double)metric_counts[COUNT_OOM_KILLED]);
                metric_head(text, CRIO "default_runtime", METRIC_GAUGE,
                            "Always 1; its label is the default handler.");
                metric_sample(text, CRIO "default_runtime", "runtime",
                              node.config->runtime.default_handler, 1);
        }
}

/* ---- all ---- */

void metrics_write(struct buffer *text)
{
        unsigned collectors = collectors_of(node.config->metrics.collectors);
        bool crio = node.config->metrics.crio_names;

        metric_head(text, "crisp_build_info", METRIC_GAUGE, "Always 1; its label is the version.");
        metric_sample(text, "crisp_build_info", "version", CRISP_VERSION, 1);
        if (collectors & 1u << COLLECTOR_CALLS)
                write_calls(text);
        if (collectors & 1u << COLLECTOR_IMAGES) {
                write_pulls(text);
                write_store(text);
        }
        if (collectors & 1u << COLLECTOR_CONTAINERS)
                write_containers(text);
        if (collectors & 1u << COLLECTOR_NETWORK)
                write_network(text);
        if (collectors & 1u << COLLECTOR_CGROUPS)
                write_cgroups(text);
        if (collectors & (1u << COLLECTOR_PROCESS | 1u << COLLECTOR_LOGS))
                metrics_machine_write(text, collectors, crio);
        if (crio)
                write_crio_names(text, collectors);
}
