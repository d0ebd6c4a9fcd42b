/* ContainerStatus and ListContainers: from memory. */
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/image_volume.h"
#include "cri/lookup.h"
#include "cri/signals.h"
#include "cri/status_text.h"
#include "cri/utf8.h"

#define LENGTH_MAX 10 /* bytes of a protobuf length */
#define LIST_FIELD 1  /* number of ListContainersResponse.containers */

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

static void add_info(struct rpc *rpc, const struct container *container,
                     Runtime__V1__ContainerStatusResponse *response)
{
        const struct pod *pod = container->pod;
        AUTO_FREE char *bundle = container_state_path(container, "bundle");
        AUTO_FREE char *rootfs = container_run_path(container, "rootfs");
        AUTO_JSON json_t *info = json_object();
        json_object_set_new(info, "sandboxID", json_string(pod->id));
        json_object_set_new(info, "pid", json_integer(container->pid));
        json_object_set_new(info, "runtimeHandler",
                            json_string(pod->handler ? pod->handler->name : ""));
        json_object_set_new(info, "bundle", json_string(bundle));
        json_object_set_new(info, "rootfs", json_string(rootfs));
        json_object_set_new(info, "cgroupPath", json_string(container->cgroup_path));
        json_object_set_new(info, "privileged",
                            json_boolean(container_security(container)->privileged));
        status_text_add_step(info, container->step, container->step_since);
        response->info = (Runtime__V1__ContainerStatusResponse__InfoEntry **)status_text_info(
                rpc->arena, &runtime__v1__container_status_response__info_entry__descriptor, info);
        response->n_info = 1;
}

int container_status_handler(struct rpc *rpc, const void *request_, void *response_,
                             struct error *err)
{
        const Runtime__V1__ContainerStatusRequest *request = request_;
        Runtime__V1__ContainerStatusResponse *response = response_;
        struct container *container = NULL;
        int result = container_find(request->container_id, &container, err);
        if (result < 0)
                return result;
        /* The table holds it until another task runs, and the reply is packed before that. */
        container_unref(container);
        response->status = container_status(container, rpc->arena);
        if (request->verbose)
                add_info(rpc, container, response);
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

/* A length as protobuf writes it, of at most LENGTH_MAX bytes. */
static size_t put_length(uint8_t *out, size_t length)
{
        size_t count = 0;
        for (; length >= 0x80; length >>= 7)
                out[count++] = (uint8_t)(length | 0x80);
        out[count++] = (uint8_t)length;
        return count;
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
        const ProtobufCMessage *item =
                utf8_clean_message(arena, &list_item(container, arena)->base);
        size_t size = protobuf_c_message_get_packed_size(item);
        free(container->listed);
        container->listed = xcalloc(1, LENGTH_MAX + size);
        container->listed_length = put_length(container->listed, size);
        container->listed_length +=
                protobuf_c_message_pack(item, container->listed + container->listed_length);
        container->listed_state = state;
}

int container_list_handler(struct rpc *rpc, const void *request_, void *response_,
                           struct error *err)
{
        const Runtime__V1__ListContainersRequest *request = request_;
        Runtime__V1__ListContainersResponse *response = response_;
        (void)err;
        /* What is packed already goes out as fields that protobuf-c passes on as they are. */
        ProtobufCMessageUnknownField *fields =
                arena_array(rpc->arena, table_size(node.containers), sizeof *fields);
        unsigned count = 0;
        size_t cursor = 0;
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));) {
                if (!matches(each, request->filter))
                        continue;
                keep_listed(each, rpc->arena);
                fields[count++] = (ProtobufCMessageUnknownField){
                        .tag = LIST_FIELD,
                        .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                        .len = each->listed_length,
                        .data = each->listed,
                };
        }
        response->base.unknown_fields = fields;
        response->base.n_unknown_fields = count;
        return 0;
}
