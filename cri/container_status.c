/* ContainerStatus and ListContainers: from memory. */
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/image_volume.h"
#include "cri/list_stream.h"
#include "cri/lookup.h"
#include "cri/packed.h"
#include "cri/signals.h"
#include "cri/status_info.h"
#include "cri/status_text.h"

#define LIST_FIELD 1 /* number of ListContainersResponse.containers */

Runtime__V1__ContainerState container_state(const struct container *container)
{
        switch (container->phase) {
        case CONTAINER_RUNNING:
                return RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
        case CONTAINER_EXITED:
                return RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED;
        case CONTAINER_CREATING:
        case CONTAINER_CREATED:
        case CONTAINER_STARTING:
        case CONTAINER_REMOVED:
                break;
        }
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED;
}

/* The image by the name that it had: the one string by which the kubelet finds it stays in image_id
 * and image_ref. */
static Runtime__V1__ImageSpec *image_spec(const struct container *container, struct arena *arena)
{
        Runtime__V1__ImageSpec *spec =
                arena_memdup(arena, container_config(container)->image, sizeof *spec);
        spec->image = container->image_name;
        return spec;
}

static Runtime__V1__ContainerUser *user_of(const struct container *container, struct arena *arena)
{
        Runtime__V1__LinuxContainerUser *linux_user = arena_alloc(arena, sizeof *linux_user);
        runtime__v1__linux_container_user__init(linux_user);
        linux_user->uid = container->uid;
        linux_user->gid = container->gid;
        linux_user->n_supplemental_groups = container->gid_count;
        linux_user->supplemental_groups = arena_array(arena, container->gid_count, sizeof(int64_t));
        for (size_t i = 0; i < container->gid_count; i++)
                linux_user->supplemental_groups[i] = container->gids[i];
        Runtime__V1__ContainerUser *user = arena_alloc(arena, sizeof *user);
        runtime__v1__container_user__init(user);
        user->linux = linux_user;
        return user;
}

static Runtime__V1__ContainerResources *resources_of(const struct container *container,
                                                     struct arena *arena)
{
        Runtime__V1__ContainerResources *resources = arena_alloc(arena, sizeof *resources);
        runtime__v1__container_resources__init(resources);
        resources->linux = container->resources;
        return resources;
}

Runtime__V1__ContainerStatus *container_status(const struct container *container,
                                               struct arena *arena)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        Runtime__V1__ContainerStatus *status = arena_alloc(arena, sizeof *status);
        runtime__v1__container_status__init(status);
        status->id = (char *)container->id;
        status->metadata = config->metadata;
        status->state = container_state(container);
        status->created_at = container->created_at;
        if (container->phase != CONTAINER_STARTING)
                status->started_at = container->started_at;
        status->finished_at = container->finished_at;
        status->exit_code = container->exit_code;
        status->image = image_spec(container, arena);
        status->image_ref = status->image_id = container->image_id;
        status->reason = (char *)(container->reason ? container->reason : "");
        status->message = container->message ? container->message : (char *)"";
        status->n_labels = config->n_labels;
        status->labels = (Runtime__V1__ContainerStatus__LabelsEntry **)config->labels;
        status->n_annotations = config->n_annotations;
        status->annotations =
                (Runtime__V1__ContainerStatus__AnnotationsEntry **)config->annotations;
        status->n_mounts = config->n_mounts;
        status->mounts = image_volumes_status(container, arena);
        status->log_path = container->log_path ? container->log_path : (char *)"";
        status->resources = resources_of(container, arena);
        status->user = user_of(container, arena);
        status->stop_signal = signals_to_cri(container->stop_signal);
        return status;
}

int container_status_handler(struct rpc *rpc, const void *request_, void *response_,
                             struct error *err)
{
        const Runtime__V1__ContainerStatusRequest *request = request_;
        Runtime__V1__ContainerStatusResponse *response = response_;
        AUTO_CONTAINER struct container *container = NULL;
        int result = container_find(request->container_id, &container, err);
        if (result < 0)
                return result;
        if (request->verbose) {
                AUTO_JSON json_t *info = status_info_container(container);
                response->info =
                        (Runtime__V1__ContainerStatusResponse__InfoEntry **)status_text_info(
                                rpc->arena,
                                &runtime__v1__container_status_response__info_entry__descriptor,
                                info);
                response->n_info = 1;
                /* It may have gone meanwhile. */
                struct container *same;
                result = container_find(container->id, &same, err);
                if (result < 0)
                        return result;
                container_unref(same);
        }
        /* The table holds it until another task runs, and the reply is packed before that. */
        response->status = container_status(container, rpc->arena);
        return 0;
}

static bool matches(const struct container *container, const Runtime__V1__ContainerFilter *filter)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        if (!container_is_listed(container))
                return false;
        if (!filter)
                return true;
        return lookup_id_matches(container->id, filter->id) &&
               lookup_id_matches(container->pod->id, filter->pod_sandbox_id) &&
               (!filter->state || filter->state->state == container_state(container)) &&
               lookup_labels_match(config->labels, config->n_labels, filter->label_selector,
                                   filter->n_label_selector);
}

static Runtime__V1__Container *list_item(const struct container *container, struct arena *arena)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        Runtime__V1__Container *item = arena_alloc(arena, sizeof *item);
        runtime__v1__container__init(item);
        item->id = (char *)container->id;
        item->pod_sandbox_id = container->pod->id;
        item->metadata = config->metadata;
        item->image = image_spec(container, arena);
        item->image_ref = item->image_id = container->image_id;
        item->state = container_state(container);
        item->created_at = container->created_at;
        item->n_labels = config->n_labels;
        item->labels = (Runtime__V1__Container__LabelsEntry **)config->labels;
        item->n_annotations = config->n_annotations;
        item->annotations = (Runtime__V1__Container__AnnotationsEntry **)config->annotations;
        return item;
}

/*
 * The container as an entry of the list, packed. The kubelet asks for the list more often than any
 * container changes, and packing ten thousand takes longer than anything else in the daemon; so
 * each keeps its entry until its state changes.
 */
static void keep_listed(struct container *container, struct arena *arena)
{
        Runtime__V1__ContainerState state = container_state(container);
        if (container->listed && container->listed_state == state)
                return;
        free(container->listed);
        container->listed =
                packed_message(&list_item(container, arena)->base, &container->listed_length);
        container->listed_state = state;
}

int container_list_handler(struct rpc *rpc, const void *request_, void *response_,
                           struct error *err)
{
        const Runtime__V1__ListContainersRequest *request = request_;
        Runtime__V1__ListContainersResponse *response = response_;
        (void)err;
        ProtobufCMessageUnknownField *fields =
                arena_array(rpc->arena, table_size(node.containers), sizeof *fields);
        unsigned count = 0;
        size_t cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));) {
                if (!matches(each, request->filter))
                        continue;
                keep_listed(each, rpc->arena);
                fields[count++] = packed_field(LIST_FIELD, each->listed, each->listed_length);
        }
        response->base.unknown_fields = fields;
        response->base.n_unknown_fields = count;
        return 0;
}

int container_stream_handler(struct rpc *rpc, const void *request_, void *response,
                             struct error *err)
{
        const Runtime__V1__StreamContainersRequest *request = request_;
        (void)response;
        /* Containers come and go while a message is sent: those of this moment are held. */
        struct container **held =
                arena_array(rpc->arena, table_size(node.containers), sizeof(struct container *));
        size_t count = 0, cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                if (matches(each, request->filter))
                        held[count++] = container_ref(each);
        AUTO_LIST_STREAM struct list_stream stream;
        list_stream_init(&stream, rpc, &runtime__v1__stream_containers_response__descriptor);
        int result = 0;
        for (size_t i = 0; i < count; i++) {
                /* One that has gone meanwhile is not told of as if it were there. */
                if (result == 0 && container_is_listed(held[i])) {
                        keep_listed(held[i], rpc->arena);
                        result = list_stream_add_packed(&stream, held[i]->listed,
                                                        held[i]->listed_length, err);
                }
                container_unref(held[i]);
        }
        return result < 0 ? result : list_stream_end(&stream, err);
}
