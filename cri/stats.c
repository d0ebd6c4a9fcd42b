/* ContainerStats, PodSandboxStats, their lists and streams. */
#include "cri/stats.h"

#include <string.h>

#include "base/memory.h"
#include "cri/lookup.h"
#include "cri/stats_message.h"

#define IN_A_MESSAGE 100                  /* of a stream */
#define SAMPLED_TIME (300 * NSEC_PER_SEC) /* without a request, after which nothing is sampled */

/* ---- sources ---- */

/* The source of a container that runs; null for any other. */
static struct stats_source *container_source(struct container *container)
{
        if (container->phase != CONTAINER_RUNNING || !container->cgroup_path)
                return NULL;
        if (container->stats)
                return container->stats;
        const struct runtime_handler *handler = container->pod->handler;
        container->stats = stats_source_new(container->cgroup_path, NULL, container->pid);
        if (handler && handler->kind == RUNTIME_KIND_SHIM && handler->sandbox)
                stats_source_set_guest(container->stats, container->id);
        return container->stats;
}

bool stats_pod_is_asked(const struct pod *pod)
{
        return pod_is_listed(pod) && pod->phase == POD_READY && !pod->stopping && !pod->torn_down;
}

static struct stats_source *pod_source(struct pod *pod)
{
        if (!stats_pod_is_asked(pod))
                return NULL;
        if (pod->stats)
                return pod->stats;
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        AUTO_FREE char *netns = pod_has_network(pod) ? pod_path(pod, "ns/net") : NULL;
        bool parent = pod_cgroup_parent(pod)[0] &&
                      cgroup_place(node.cgroup_driver, pod_cgroup_parent(pod), pod->id, &place,
                                   NULL) == 0;
        pod->stats = stats_source_new(parent ? place.parent : NULL, netns, 0);
        return pod->stats;
}

/* Notes which pods share their cgroup parent with another one. */
static void find_shared(void)
{
        struct table *parents = table_new();
        size_t cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));) {
                if (each->left_cgroup)
                        continue;
                struct pod *other = table_put(parents, pod_cgroup_parent(each), each);
                each->shares_cgroup = other != NULL;
                if (other)
                        other->shares_cgroup = true;
        }
        table_free(parents);
}

bool stats_pod_has_cgroup(const struct pod *pod)
{
        return pod_cgroup_parent(pod)[0] && !pod->shares_cgroup;
}

void stats_pods_unref(struct stats_pods *pods)
{
        for (size_t i = 0; i < pods->count; i++)
                pod_unref(pods->pods[i]);
        pods->count = 0;
}

/* ---- samples, so that there is a rate when somebody asks ---- */

static struct {
        int64_t asked_at; /* monotonic ns */
        bool running;
} sampler;

static size_t add_container(struct container *container, unsigned parts, struct stats_wish *wishes)
{
        struct stats_source *source = container_source(container);
        if (!source)
                return 0;
        *wishes = (struct stats_wish){source, parts};
        return 1;
}

static void sample(void)
{
        struct stats_wish *wishes =
                xcalloc(table_size(node.containers) + table_size(node.pods) + 1, sizeof *wishes);
        size_t count = 0, cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                if (each->stats)
                        count += add_container(each, CGROUP_PART_CPU, &wishes[count]);
        cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                if (each->stats && stats_pod_is_asked(each))
                        wishes[count++] = (struct stats_wish){each->stats, CGROUP_PART_CPU};
        stats_source_read(wishes, count);
        free(wishes);
}

static void rest(void)
{
        size_t cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                if (each->stats)
                        stats_source_rest(each->stats);
        cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                if (each->stats)
                        stats_source_rest(each->stats);
}

static void sampler_task(void *argument)
{
        (void)argument;
        int64_t period = node.config->stats.collection_period * NSEC_PER_SEC;
        while (clock_monotonic() - sampler.asked_at < SAMPLED_TIME) {
                task_sleep_until(clock_after(period ? period : SAMPLED_TIME));
                if (period)
                        sample();
        }
        rest();
        sampler.running = false;
}

/* Somebody wants to know: what is measured in the background goes on for a while. */
static void note_request(void)
{
        sampler.asked_at = clock_monotonic();
        container_usage_refresh();
        if (sampler.running)
                return;
        sampler.running = true;
        task_start("sample statistics", sampler_task, NULL);
}

/* ---- containers ---- */

static bool container_matches(const struct container *container,
                              const Runtime__V1__ContainerStatsFilter *filter)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        if (!container_is_listed(container) || container->phase != CONTAINER_RUNNING)
                return false;
        if (!filter)
                return true;
        return lookup_id_matches(container->id, filter->id) &&
               lookup_id_matches(container->pod->id, filter->pod_sandbox_id) &&
               lookup_labels_match(config->labels, config->n_labels, filter->label_selector,
                                   filter->n_label_selector);
}

struct containers {
        struct container **list; /* counted */
        size_t count;
};

static void containers_unref(struct containers *containers)
{
        for (size_t i = 0; i < containers->count; i++)
                container_unref(containers->list[i]);
        containers->count = 0;
}
#define AUTO_CONTAINERS CLEANUP(containers_unref)

static void find_containers(const Runtime__V1__ContainerStatsFilter *filter, struct arena *arena,
                            struct containers *found)
{
        size_t cursor = 0;
        found->list = arena_array(arena, table_size(node.containers) + 1, sizeof(*found->list));
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                if (container_matches(each, filter))
                        found->list[found->count++] = container_ref(each);
}

static void read_containers(struct container *const *list, size_t count)
{
        struct stats_wish *wishes = xcalloc(count + 1, sizeof *wishes);
        size_t wanted = 0;
        for (size_t i = 0; i < count; i++)
                wanted += add_container(list[i], STATS_PARTS_BASIC, &wishes[wanted]);
        stats_source_read(wishes, wanted);
        free(wishes);
}

/* Those of them that still run, as messages; their number. */
static size_t describe_containers(struct container *const *list, size_t count, struct arena *arena,
                                  Runtime__V1__ContainerStats **out)
{
        size_t described = 0;
        for (size_t i = 0; i < count; i++)
                if (list[i]->phase == CONTAINER_RUNNING)
                        out[described++] = stats_message_container(list[i], arena);
        return described;
}

int stats_container_handler(struct rpc *rpc, const void *request_, void *response_,
                            struct error *err)
{
        const Runtime__V1__ContainerStatsRequest *request = request_;
        Runtime__V1__ContainerStatsResponse *response = response_;
        struct container *container = NULL;
        int result = container_find(request->container_id, &container, err);
        if (result < 0)
                return result;
        note_request();
        read_containers(&container, 1);
        response->stats = stats_message_container(container, rpc->arena);
        /* What the message points to is the container's, and the reply is packed before another
         * task could take it from the table. Unless one just did. */
        if (container->phase == CONTAINER_REMOVED)
                result = error_set(err, ERROR_NOT_FOUND, "container %s is not there any more",
                                   container->id);
        container_unref(container);
        return result;
}

int stats_container_list_handler(struct rpc *rpc, const void *request_, void *response_,
                                 struct error *err)
{
        const Runtime__V1__ListContainerStatsRequest *request = request_;
        Runtime__V1__ListContainerStatsResponse *response = response_;
        AUTO_CONTAINERS struct containers found = {0};
        (void)err;
        note_request();
        find_containers(request->filter, rpc->arena, &found);
        read_containers(found.list, found.count);
        response->stats = arena_array(rpc->arena, found.count + 1, sizeof(*response->stats));
        response->n_stats =
                describe_containers(found.list, found.count, rpc->arena, response->stats);
        return 0;
}

int stats_container_stream_handler(struct rpc *rpc, const void *request_, void *response,
                                   struct error *err)
{
        const Runtime__V1__StreamContainerStatsRequest *request = request_;
        AUTO_CONTAINERS struct containers found = {0};
        (void)response;
        note_request();
        find_containers(request->filter, rpc->arena, &found);
        for (size_t next = 0; next < found.count; next += IN_A_MESSAGE) {
                AUTO_ARENA struct arena *arena = arena_new();
                Runtime__V1__ContainerStats *stats[IN_A_MESSAGE];
                Runtime__V1__StreamContainerStatsResponse message;
                size_t count =
                        found.count - next < IN_A_MESSAGE ? found.count - next : IN_A_MESSAGE;
                read_containers(&found.list[next], count);
                runtime__v1__stream_container_stats_response__init(&message);
                message.container_stats = stats;
                message.n_container_stats =
                        describe_containers(&found.list[next], count, arena, stats);
                int result = message.n_container_stats ? rpc_send(rpc, &message, err) : 0;
                if (result < 0)
                        return result;
        }
        return 0;
}

/* ---- pods ---- */

void stats_read_pods(struct pod *const *pods, size_t count, unsigned container_parts,
                     unsigned pod_parts)
{
        size_t most = count, wanted = 0;
        note_request();
        for (size_t i = 0; i < count; i++)
                for (struct container *each = pods[i]->containers; each; each = each->next)
                        most++;
        struct stats_wish *wishes = xcalloc(most + 1, sizeof *wishes);
        for (size_t i = 0; i < count; i++) {
                struct stats_source *source = pod_source(pods[i]);
                if (source)
                        wishes[wanted++] =
                                (struct stats_wish){source, pod_parts | STATS_PARTS_BASIC};
                for (struct container *each = pods[i]->containers; each; each = each->next)
                        wanted += add_container(each, container_parts, &wishes[wanted]);
        }
        stats_source_read(wishes, wanted);
        free(wishes);
        find_shared();
}

static bool pod_matches(const struct pod *pod, const Runtime__V1__PodSandboxStatsFilter *filter)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        if (!stats_pod_is_asked(pod))
                return false;
        return !filter || (lookup_id_matches(pod->id, filter->id) &&
                           lookup_labels_match(config->labels, config->n_labels,
                                               filter->label_selector, filter->n_label_selector));
}

static void find_pods(const Runtime__V1__PodSandboxStatsFilter *filter, struct arena *arena,
                      struct stats_pods *found)
{
        size_t cursor = 0;
        found->pods = arena_array(arena, table_size(node.pods) + 1, sizeof(*found->pods));
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                if (pod_matches(each, filter))
                        found->pods[found->count++] = pod_ref(each);
}

static size_t describe_pods(struct pod *const *list, size_t count, struct arena *arena,
                            Runtime__V1__PodSandboxStats **out)
{
        size_t described = 0;
        for (size_t i = 0; i < count; i++)
                if (stats_pod_is_asked(list[i]))
                        out[described++] = stats_message_pod(list[i], arena);
        return described;
}

int stats_pod_handler(struct rpc *rpc, const void *request_, void *response_, struct error *err)
{
        const Runtime__V1__PodSandboxStatsRequest *request = request_;
        Runtime__V1__PodSandboxStatsResponse *response = response_;
        struct pod *pod = NULL;
        int result = pod_find(request->pod_sandbox_id, &pod, err);
        if (result < 0)
                return result;
        stats_read_pods(&pod, 1, STATS_PARTS_BASIC, STATS_PART_INTERFACES);
        response->stats = stats_message_pod(pod, rpc->arena);
        if (pod->phase == POD_REMOVED)
                result = error_set(err, ERROR_NOT_FOUND, "pod sandbox %s is not there any more",
                                   pod->id);
        pod_unref(pod);
        return result;
}

int stats_pod_list_handler(struct rpc *rpc, const void *request_, void *response_,
                           struct error *err)
{
        const Runtime__V1__ListPodSandboxStatsRequest *request = request_;
        Runtime__V1__ListPodSandboxStatsResponse *response = response_;
        AUTO_STATS_PODS struct stats_pods found = {0};
        (void)err;
        find_pods(request->filter, rpc->arena, &found);
        stats_read_pods(found.pods, found.count, STATS_PARTS_BASIC, STATS_PART_INTERFACES);
        response->stats = arena_array(rpc->arena, found.count + 1, sizeof(*response->stats));
        response->n_stats = describe_pods(found.pods, found.count, rpc->arena, response->stats);
        return 0;
}

int stats_pod_stream_handler(struct rpc *rpc, const void *request_, void *response,
                             struct error *err)
{
        const Runtime__V1__StreamPodSandboxStatsRequest *request = request_;
        AUTO_STATS_PODS struct stats_pods found = {0};
        (void)response;
        find_pods(request->filter, rpc->arena, &found);
        for (size_t next = 0; next < found.count; next += IN_A_MESSAGE) {
                AUTO_ARENA struct arena *arena = arena_new();
                Runtime__V1__PodSandboxStats *stats[IN_A_MESSAGE];
                Runtime__V1__StreamPodSandboxStatsResponse message;
                size_t count =
                        found.count - next < IN_A_MESSAGE ? found.count - next : IN_A_MESSAGE;
                stats_read_pods(&found.pods[next], count, STATS_PARTS_BASIC, STATS_PART_INTERFACES);
                runtime__v1__stream_pod_sandbox_stats_response__init(&message);
                message.pod_sandbox_stats = stats;
                message.n_pod_sandbox_stats = describe_pods(&found.pods[next], count, arena, stats);
                int result = message.n_pod_sandbox_stats ? rpc_send(rpc, &message, err) : 0;
                if (result < 0)
                        return result;
        }
        return 0;
}
