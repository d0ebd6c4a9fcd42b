/* PodSandboxStatus and ListPodSandbox: from memory. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/list_stream.h"
#include "cri/lookup.h"
#include "cri/pod.h"
#include "cri/status_info.h"
#include "cri/status_text.h"

static Runtime__V1__PodSandboxState state_of(const struct pod *pod)
{
        return pod->phase == POD_READY ? RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY
                                       : RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
}

static Runtime__V1__PodSandboxNetworkStatus *network_of(const struct pod *pod, struct arena *arena)
{
        Runtime__V1__PodSandboxNetworkStatus *network = arena_alloc(arena, sizeof *network);
        runtime__v1__pod_sandbox_network_status__init(network);
        size_t count = strv_length(pod->ips);
        if (!count || !pod_has_network(pod))
                return network;
        network->ip = pod->ips[0];
        network->additional_ips = arena_array(arena, count - 1, sizeof *network->additional_ips);
        for (size_t i = 1; i < count; i++) {
                Runtime__V1__PodIP *ip = arena_alloc(arena, sizeof *ip);
                runtime__v1__pod_ip__init(ip);
                ip->ip = pod->ips[i];
                network->additional_ips[network->n_additional_ips++] = ip;
        }
        return network;
}

Runtime__V1__PodSandboxStatus *pod_status(const struct pod *pod, struct arena *arena)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        /* The kubelet compares these with what it asked for, and makes the pod anew where they
         * differ. */
        Runtime__V1__Namespace *namespaces = arena_alloc(arena, sizeof *namespaces);
        runtime__v1__namespace__init(namespaces);
        namespaces->options = (Runtime__V1__NamespaceOption *)pod_namespaces(pod);
        Runtime__V1__LinuxPodSandboxStatus *linux_status = arena_alloc(arena, sizeof *linux_status);
        runtime__v1__linux_pod_sandbox_status__init(linux_status);
        linux_status->namespaces = namespaces;

        Runtime__V1__PodSandboxStatus *status = arena_alloc(arena, sizeof *status);
        runtime__v1__pod_sandbox_status__init(status);
        status->id = (char *)pod->id;
        status->metadata = config->metadata;
        status->state = state_of(pod);
        status->created_at = pod->created_at;
        status->network = network_of(pod, arena);
        status->linux = linux_status;
        status->n_labels = config->n_labels;
        status->labels = (Runtime__V1__PodSandboxStatus__LabelsEntry **)config->labels;
        status->n_annotations = config->n_annotations;
        status->annotations =
                (Runtime__V1__PodSandboxStatus__AnnotationsEntry **)config->annotations;
        status->runtime_handler = pod->request->runtime_handler;
        return status;
}

static int newest_first(const void *a, const void *b)
{
        const Runtime__V1__ContainerStatus *const *first = a, *const *second = b;
        return ((*first)->created_at < (*second)->created_at) -
               ((*first)->created_at > (*second)->created_at);
}

Runtime__V1__ContainerStatus **pod_containers_statuses(const struct pod *pod, struct arena *arena,
                                                       size_t *count)
{
        size_t room = 0;
        *count = 0;
        for (struct container *each = pod->containers; each; each = each->next)
                room++;
        Runtime__V1__ContainerStatus **statuses =
                arena_array(arena, room, sizeof(Runtime__V1__ContainerStatus *));
        for (struct container *each = pod->containers; each; each = each->next)
                if (container_is_listed(each))
                        statuses[(*count)++] = container_status(each, arena);
        qsort(statuses, *count, sizeof(Runtime__V1__ContainerStatus *), newest_first);
        return statuses;
}

static void add_info(struct rpc *rpc, const struct pod *pod,
                     Runtime__V1__PodSandboxStatusResponse *response)
{
        AUTO_JSON json_t *info = status_info_pod(pod);
        response->info = (Runtime__V1__PodSandboxStatusResponse__InfoEntry **)status_text_info(
                rpc->arena, &runtime__v1__pod_sandbox_status_response__info_entry__descriptor,
                info);
        response->n_info = 1;
}

int pod_status_handler(struct rpc *rpc, const void *request_, void *response_, struct error *err)
{
        const Runtime__V1__PodSandboxStatusRequest *request = request_;
        Runtime__V1__PodSandboxStatusResponse *response = response_;
        struct pod *pod = NULL;
        int result = pod_find(request->pod_sandbox_id, &pod, err);
        if (result < 0)
                return result;
        /* The table holds it until another task runs, and the reply is packed before that. */
        pod_unref(pod);
        pod_check(pod);
        response->status = pod_status(pod, rpc->arena);
        response->containers_statuses =
                pod_containers_statuses(pod, rpc->arena, &response->n_containers_statuses);
        response->timestamp = clock_real();
        if (request->verbose)
                add_info(rpc, pod, response);
        return 0;
}

static bool matches(const struct pod *pod, const Runtime__V1__PodSandboxFilter *filter)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        if (!pod_is_listed(pod))
                return false;
        if (!filter)
                return true;
        return lookup_id_matches(pod->id, filter->id) &&
               (!filter->state || filter->state->state == state_of(pod)) &&
               lookup_labels_match(config->labels, config->n_labels, filter->label_selector,
                                   filter->n_label_selector);
}

static Runtime__V1__PodSandbox *list_item(const struct pod *pod, struct arena *arena)
{
        const Runtime__V1__PodSandboxConfig *config = pod_config(pod);
        Runtime__V1__PodSandbox *item = arena_alloc(arena, sizeof *item);
        runtime__v1__pod_sandbox__init(item);
        item->id = (char *)pod->id;
        item->metadata = config->metadata;
        item->state = state_of(pod);
        item->created_at = pod->created_at;
        item->n_labels = config->n_labels;
        item->labels = (Runtime__V1__PodSandbox__LabelsEntry **)config->labels;
        item->n_annotations = config->n_annotations;
        item->annotations = (Runtime__V1__PodSandbox__AnnotationsEntry **)config->annotations;
        item->runtime_handler = pod->request->runtime_handler;
        return item;
}

int pod_list_handler(struct rpc *rpc, const void *request_, void *response_, struct error *err)
{
        const Runtime__V1__ListPodSandboxRequest *request = request_;
        Runtime__V1__ListPodSandboxResponse *response = response_;
        (void)err;
        response->items = arena_array(rpc->arena, table_size(node.pods), sizeof *response->items);
        size_t cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                if (matches(each, request->filter))
                        response->items[response->n_items++] = list_item(each, rpc->arena);
        return 0;
}

int pod_stream_handler(struct rpc *rpc, const void *request_, void *response, struct error *err)
{
        const Runtime__V1__StreamPodSandboxesRequest *request = request_;
        (void)response;
        /* Pods come and go while a message is sent: those of this moment are held. */
        struct pod **held = arena_array(rpc->arena, table_size(node.pods), sizeof(struct pod *));
        size_t count = 0, cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                if (matches(each, request->filter))
                        held[count++] = pod_ref(each);
        AUTO_LIST_STREAM struct list_stream stream;
        list_stream_init(&stream, rpc, &runtime__v1__stream_pod_sandboxes_response__descriptor);
        int result = 0;
        for (size_t i = 0; i < count; i++) {
                /* One that has gone meanwhile is not told of as if it were there. */
                if (result == 0 && pod_is_listed(held[i]))
                        result = list_stream_add(&stream, &list_item(held[i], rpc->arena)->base,
                                                 err);
                pod_unref(held[i]);
        }
        return result < 0 ? result : list_stream_end(&stream, err);
}
