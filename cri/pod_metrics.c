#include "cri/pod_metrics.h"

#include "cri/pod_metric_table.h"
#include "cri/pod_metric_values.h"
#include "cri/stats.h"

#define IN_A_MESSAGE 20 /* pods; of a stream: some hundred metrics of some hundred bytes each */

/* A machine without the controller has no values for its group: then it has no descriptors either,
 * which clients hold against each other. What a machine has does not change. */
static unsigned groups(void)
{
        static unsigned missing;
        static bool known;
        if (!known && !cgroup_has(&node.cgroups, "hugetlb"))
                missing = 1u << POD_METRICS_HUGETLB;
        known = true;
        return pod_metric_groups_of(node.config->stats.pod_metrics) & ~missing;
}

static char **label_keys(enum pod_metric_id id, struct arena *arena, size_t *count)
{
        size_t own = pod_metric_label_count(id);
        char **keys = arena_array(arena, POD_METRIC_BASE_LABELS + own, sizeof *keys);
        *count = POD_METRIC_BASE_LABELS + own;
        for (size_t i = 0; i < POD_METRIC_BASE_LABELS; i++)
                keys[i] = (char *)pod_metric_base_labels[i];
        for (size_t i = 0; i < own; i++)
                keys[POD_METRIC_BASE_LABELS + i] = (char *)pod_metric_table[id].labels[i];
        return keys;
}

int pod_metrics_descriptors_handler(struct rpc *rpc, const void *request, void *response_,
                                    struct error *err)
{
        Runtime__V1__ListMetricDescriptorsResponse *response = response_;
        unsigned chosen = groups();
        (void)request;
        (void)err;
        response->descriptors =
                arena_array(rpc->arena, POD_METRIC_COUNT, sizeof(*response->descriptors));
        for (enum pod_metric_id id = 0; id < POD_METRIC_COUNT; id++) {
                if (!(chosen & 1u << pod_metric_table[id].group))
                        continue;
                Runtime__V1__MetricDescriptor *out = arena_alloc(rpc->arena, sizeof *out);
                runtime__v1__metric_descriptor__init(out);
                out->name = (char *)pod_metric_table[id].name;
                out->help = (char *)pod_metric_table[id].help;
                out->label_keys = label_keys(id, rpc->arena, &out->n_label_keys);
                response->descriptors[response->n_descriptors++] = out;
        }
        return 0;
}

/* ---- values ---- */

/* Only what is asked for is read: a look at each process costs the most by far. */
static unsigned container_parts(unsigned chosen)
{
        unsigned parts = CGROUP_PART_CPU;
        if (chosen & ~(1u << POD_METRICS_ALWAYS | 1u << POD_METRICS_NETWORK))
                parts = STATS_PARTS_BASIC | CGROUP_PART_DETAIL;
        if (chosen & 1u << POD_METRICS_PROCESS)
                parts |= STATS_PART_PROCESSES;
        return parts;
}

static unsigned pod_parts(unsigned chosen)
{
        unsigned parts = CGROUP_PART_DETAIL;
        if (chosen & 1u << POD_METRICS_NETWORK)
                parts |= STATS_PART_INTERFACES;
        return parts;
}

static Runtime__V1__PodSandboxMetrics *describe(struct pod *pod, unsigned chosen,
                                                const struct container_usage_total *disk,
                                                struct arena *arena)
{
        Runtime__V1__PodSandboxMetrics *out = arena_alloc(arena, sizeof *out);
        struct pod_metric_list list;
        size_t count = 0;
        runtime__v1__pod_sandbox_metrics__init(out);
        out->pod_sandbox_id = pod->id;
        pod_metric_values_pod(pod, chosen, arena, &list);
        out->metrics = list.metrics;
        out->n_metrics = list.count;
        for (struct container *each = pod->containers; each; each = each->next)
                count++;
        out->container_metrics = arena_array(arena, count + 1, sizeof(*out->container_metrics));
        for (struct container *each = pod->containers; each; each = each->next) {
                if (each->phase != CONTAINER_RUNNING)
                        continue;
                Runtime__V1__ContainerMetrics *metrics = arena_alloc(arena, sizeof *metrics);
                runtime__v1__container_metrics__init(metrics);
                metrics->container_id = each->id;
                pod_metric_values_container(each, chosen, disk, arena, &list);
                metrics->metrics = list.metrics;
                metrics->n_metrics = list.count;
                out->container_metrics[out->n_container_metrics++] = metrics;
                if (each->stats)
                        stats_source_drop_detail(each->stats);
        }
        if (pod->stats)
                stats_source_drop_detail(pod->stats);
        return out;
}

static void find_pods(struct arena *arena, struct stats_pods *found)
{
        size_t cursor = 0;
        found->pods = arena_array(arena, table_size(node.pods) + 1, sizeof(*found->pods));
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                if (stats_pod_is_asked(each))
                        found->pods[found->count++] = pod_ref(each);
}

/* Reads these pods; those that are still there, as messages. Their number. */
static size_t read_and_describe(struct pod *const *pods, size_t count, struct arena *arena,
                                Runtime__V1__PodSandboxMetrics **out)
{
        struct container_usage_total disk;
        unsigned chosen = groups();
        size_t described = 0;
        stats_read_pods(pods, count, container_parts(chosen), pod_parts(chosen));
        container_usage_total(&disk);
        for (size_t i = 0; i < count; i++)
                if (stats_pod_is_asked(pods[i]))
                        out[described++] = describe(pods[i], chosen, &disk, arena);
        return described;
}

int pod_metrics_list_handler(struct rpc *rpc, const void *request, void *response_,
                             struct error *err)
{
        Runtime__V1__ListPodSandboxMetricsResponse *response = response_;
        AUTO_STATS_PODS struct stats_pods found = {0};
        (void)request;
        (void)err;
        find_pods(rpc->arena, &found);
        response->pod_metrics =
                arena_array(rpc->arena, found.count + 1, sizeof(*response->pod_metrics));
        response->n_pod_metrics =
                read_and_describe(found.pods, found.count, rpc->arena, response->pod_metrics);
        return 0;
}

int pod_metrics_stream_handler(struct rpc *rpc, const void *request, void *response,
                               struct error *err)
{
        AUTO_STATS_PODS struct stats_pods found = {0};
        (void)request;
        (void)response;
        find_pods(rpc->arena, &found);
        for (size_t next = 0; next < found.count; next += IN_A_MESSAGE) {
                AUTO_ARENA struct arena *arena = arena_new();
                Runtime__V1__PodSandboxMetrics *metrics[IN_A_MESSAGE];
                Runtime__V1__StreamPodSandboxMetricsResponse message;
                size_t count =
                        found.count - next < IN_A_MESSAGE ? found.count - next : IN_A_MESSAGE;
                runtime__v1__stream_pod_sandbox_metrics_response__init(&message);
                message.pod_sandbox_metrics = metrics;
                message.n_pod_sandbox_metrics =
                        read_and_describe(&found.pods[next], count, arena, metrics);
                int result = message.n_pod_sandbox_metrics ? rpc_send(rpc, &message, err) : 0;
                if (result < 0)
                        return result;
        }
        return 0;
}
