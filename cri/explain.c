#include "cri/explain.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cri/container.h"
#include "cri/lookup.h"
#include "cri/node.h"
#include "cri/pod.h"
#include "image/pinned.h"
#include "image/reference.h"

/* Protobuf wants strings that are never null. */
static char *copied(struct arena *arena, const char *text)
{
        return arena_strdup(arena, text ? text : "");
}

static char *rendered(struct arena *arena, const struct error *err)
{
        char text[ERROR_WORD_MAX + ERROR_MESSAGE_MAX + sizeof ": "];

        if (!err || err->code == ERROR_OK)
                return copied(arena, NULL);
        error_render(err, text, sizeof text);
        return copied(arena, text);
}

/* ---- pulls ---- */

static Crisp__V1__PullLayerState layer_state(const struct pull_layer *layer)
{
        if (layer->done)
                return CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_DONE;
        if (layer->bytes == 0)
                return CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_WAITING;
        if (layer->total > 0 && layer->bytes >= layer->total)
                return CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_UNPACKING;
        return CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_DOWNLOADING;
}

static Crisp__V1__Pull *describe_pull(struct arena *arena, const struct pull_progress *progress)
{
        Crisp__V1__Pull *out = arena_alloc(arena, sizeof *out);

        crisp__v1__pull__init(out);
        out->reference = copied(arena, progress->reference);
        out->started_at = progress->since;
        out->step = copied(arena, progress->step);
        out->step_since = progress->step_since;
        out->waiting = progress->waiters;
        out->layers = arena_array(arena, progress->layer_count + 1, sizeof *out->layers);
        for (; out->n_layers < progress->layer_count; out->n_layers++) {
                const struct pull_layer *layer = &progress->layers[out->n_layers];
                Crisp__V1__PullLayer *shown = arena_alloc(arena, sizeof *shown);
                crisp__v1__pull_layer__init(shown);
                shown->digest = copied(arena, layer->digest);
                shown->bytes = layer->bytes > 0 ? (uint64_t)layer->bytes : 0;
                shown->total = layer->total > 0 ? (uint64_t)layer->total : 0;
                shown->state = layer_state(layer);
                out->layers[out->n_layers] = shown;
        }
        return out;
}

Crisp__V1__Pull **explain_pulls(struct arena *arena, const char *reference, size_t *count)
{
        struct reference parsed;
        AUTO_FREE char *full = NULL;
        struct pull_progress progress;
        size_t cursor = 0, found = 0;

        if (reference[0] && reference_parse(reference, &parsed, NULL) == 0)
                full = reference_text(&parsed);
        while (pull_next(node.puller, &cursor, &progress))
                continue;
        Crisp__V1__Pull **pulls = arena_array(arena, cursor + 1, sizeof *pulls);
        cursor = 0;
        while (pull_next(node.puller, &cursor, &progress))
                if (!reference[0] || strcmp(progress.reference, reference) == 0 ||
                    strcmp(progress.asked, reference) == 0 ||
                    (full && strcmp(progress.reference, full) == 0))
                        pulls[found++] = describe_pull(arena, &progress);
        *count = found;
        return pulls;
}

/* ---- pods ---- */

static const char *pod_state_name(const struct pod *pod)
{
        switch (pod->phase) {
        case POD_CREATING:
                return "creating";
        case POD_READY:
                return "ready";
        case POD_NOTREADY:
        case POD_REMOVED:
                break;
        }
        return "not ready";
}

static Crisp__V1__ExplainedPod *describe_pod(struct arena *arena, const struct pod *pod)
{
        const Runtime__V1__PodSandboxMetadata *metadata = pod_config(pod)->metadata;
        Crisp__V1__ExplainedPod *out = arena_alloc(arena, sizeof *out);

        crisp__v1__explained_pod__init(out);
        out->id = copied(arena, pod->id);
        out->name = copied(arena, metadata ? metadata->name : NULL);
        out->namespace_ = copied(arena, metadata ? metadata->namespace_ : NULL);
        out->attempt = metadata ? metadata->attempt : 0;
        out->state = copied(arena, pod_state_name(pod));
        out->created_at = pod->created_at;
        if (pod->step) {
                out->step = copied(arena, pod->step);
                out->step_since = pod->step_since;
        }
        out->error = rendered(arena, pod->failure);
        out->n_ips = strv_length(pod->ips);
        out->ips = arena_array(arena, out->n_ips + 1, sizeof *out->ips);
        for (size_t i = 0; i < out->n_ips; i++)
                out->ips[i] = copied(arena, pod->ips[i]);
        out->handler = copied(arena, pod->handler ? pod->handler->name : NULL);
        for (const struct container *next = pod->containers; next; next = next->next)
                out->containers++;
        return out;
}

/* ---- containers ---- */

static const char *container_state_name(const struct container *container)
{
        switch (container->phase) {
        case CONTAINER_CREATING:
                return "creating";
        case CONTAINER_CREATED:
                return "created";
        case CONTAINER_STARTING:
                return "starting";
        case CONTAINER_RUNNING:
                return "running";
        case CONTAINER_EXITED:
        case CONTAINER_REMOVED:
                break;
        }
        return "exited";
}

static int64_t container_state_since(const struct container *container)
{
        switch (container->phase) {
        case CONTAINER_STARTING:
                return container->step ? container->step_since : container->created_at;
        case CONTAINER_RUNNING:
                return container->started_at;
        case CONTAINER_EXITED:
                return container->finished_at;
        default:
                return container->created_at;
        }
}

static Crisp__V1__ExplainedContainer *describe_container(struct arena *arena,
                                                         const struct container *container)
{
        const Runtime__V1__ContainerMetadata *metadata = container_config(container)->metadata;
        const Runtime__V1__PodSandboxMetadata *pod = pod_config(container->pod)->metadata;
        Crisp__V1__ExplainedContainer *out = arena_alloc(arena, sizeof *out);

        crisp__v1__explained_container__init(out);
        out->id = copied(arena, container->id);
        out->name = copied(arena, metadata ? metadata->name : NULL);
        out->attempt = metadata ? metadata->attempt : 0;
        out->pod_id = copied(arena, container->pod->id);
        out->pod_name = copied(arena, pod ? pod->name : NULL);
        out->pod_namespace = copied(arena, pod ? pod->namespace_ : NULL);
        out->state = copied(arena, container_state_name(container));
        out->state_since = container_state_since(container);
        if (container->step) {
                out->step = copied(arena, container->step);
                out->step_since = container->step_since;
        }
        out->error = container->failure ? rendered(arena, container->failure)
                                        : copied(arena, container->message);
        out->image = copied(arena, container->image_name);
        out->image_id = copied(arena, container->image_id);
        if (container->phase == CONTAINER_EXITED) {
                out->exit_code = container->exit_code;
                out->reason = copied(arena, container->reason);
        }
        if (container->phase == CONTAINER_RUNNING && container->pid > 0)
                out->pid = (uint32_t)container->pid;
        return out;
}

/* ---- images ---- */

static char **copied_list(struct arena *arena, char *const *list)
{
        size_t count = strv_length(list);
        char **out = arena_array(arena, count + 1, sizeof *out);

        for (size_t i = 0; i < count; i++)
                out[i] = copied(arena, list[i]);
        return out;
}

Crisp__V1__ImageSummary *explain_image(struct arena *arena, const struct image *image)
{
        Crisp__V1__ImageSummary *out = arena_alloc(arena, sizeof *out);

        crisp__v1__image_summary__init(out);
        out->id = copied(arena, image->id);
        out->n_tags = strv_length(image->tags);
        out->tags = copied_list(arena, image->tags);
        out->n_digests = strv_length(image->digests);
        out->digests = copied_list(arena, image->digests);
        out->size = image->size;
        out->pulled_at = image->pulled_at;
        out->users = (uint32_t)table_size(image->users);
        out->pinned = image->home || pinned_has(node.pinned_images, image);
        return out;
}

static Crisp__V1__ExplainedImage *describe_image(struct arena *arena, const struct image *image)
{
        Crisp__V1__ExplainedImage *out = arena_alloc(arena, sizeof *out);
        size_t cursor = 0;
        const char *user;

        crisp__v1__explained_image__init(out);
        out->summary = explain_image(arena, image);
        out->users = arena_array(arena, table_size(image->users) + 1, sizeof *out->users);
        while (table_next(image->users, &cursor, &user))
                out->users[out->n_users++] = copied(arena, user);
        return out;
}

/* ---- what was asked for ---- */

/* What one name selects among pods and containers. Those that are being made count too: they are
 * what people ask for when a pod does not come up. */
struct selection {
        const char *object;
        bool all;
        size_t by_id; /* objects whose ID begins with it */
};

/* An ID or its beginning, which is never as short as to be taken for a name's. */
static bool id_begins(const char *id, const char *object)
{
        return strlen(object) >= 3 && strncmp(id, object, strlen(object)) == 0;
}

static bool names_pod(const struct pod *pod, const char *object)
{
        const Runtime__V1__PodSandboxMetadata *metadata = pod_config(pod)->metadata;

        if (!metadata)
                return false;
        const char *name = metadata->name ? metadata->name : "";
        const char *space = metadata->namespace_ ? metadata->namespace_ : "";
        const char *slash = strchr(object, '/');
        if (!slash)
                return strcmp(name, object) == 0;
        return strcmp(name, slash + 1) == 0 && strlen(space) == (size_t)(slash - object) &&
               strncmp(space, object, strlen(space)) == 0;
}

static bool selects_pod(const struct pod *pod, struct selection *selection)
{
        if (selection->all)
                return true;
        if (id_begins(pod->id, selection->object)) {
                selection->by_id++;
                return true;
        }
        return names_pod(pod, selection->object);
}

static bool selects_container(const struct container *container, struct selection *selection)
{
        const Runtime__V1__ContainerMetadata *metadata = container_config(container)->metadata;

        if (selection->all)
                return true;
        if (id_begins(container->id, selection->object)) {
                selection->by_id++;
                return true;
        }
        return metadata && metadata->name && strcmp(metadata->name, selection->object) == 0;
}

static int older_pod(const void *left, const void *right)
{
        const Crisp__V1__ExplainedPod *a = *(Crisp__V1__ExplainedPod *const *)left;
        const Crisp__V1__ExplainedPod *b = *(Crisp__V1__ExplainedPod *const *)right;

        return a->created_at < b->created_at ? -1 : a->created_at > b->created_at;
}

static int by_pod_and_name(const void *left, const void *right)
{
        const Crisp__V1__ExplainedContainer *a = *(Crisp__V1__ExplainedContainer *const *)left;
        const Crisp__V1__ExplainedContainer *b = *(Crisp__V1__ExplainedContainer *const *)right;
        int pods = strcmp(a->pod_id, b->pod_id);

        if (pods != 0)
                return pods;
        int names = strcmp(a->name, b->name);
        return names != 0 ? names : (int)a->attempt - (int)b->attempt;
}

static void add_pods(struct arena *arena, struct selection *selection,
                     Crisp__V1__ExplainResponse *response)
{
        size_t cursor = 0;
        const struct pod *pod;

        response->pods = arena_array(arena, table_size(node.pods) + 1, sizeof *response->pods);
        while ((pod = table_next(node.pods, &cursor, NULL)))
                if (selects_pod(pod, selection))
                        response->pods[response->n_pods++] = describe_pod(arena, pod);
        qsort(response->pods, response->n_pods, sizeof *response->pods, older_pod);
}

static bool has_pod(const Crisp__V1__ExplainResponse *response, const char *id)
{
        for (size_t i = 0; i < response->n_pods; i++)
                if (strcmp(response->pods[i]->id, id) == 0)
                        return true;
        return false;
}

/* With a pod come its containers. */
static void add_containers(struct arena *arena, struct selection *selection,
                           Crisp__V1__ExplainResponse *response)
{
        size_t cursor = 0;
        const struct container *next;

        response->containers =
                arena_array(arena, table_size(node.containers) + 1, sizeof *response->containers);
        while ((next = table_next(node.containers, &cursor, NULL)))
                if (selects_container(next, selection) || has_pod(response, next->pod->id))
                        response->containers[response->n_containers++] =
                                describe_container(arena, next);
        qsort(response->containers, response->n_containers, sizeof *response->containers,
              by_pod_and_name);
}

static void add_images(struct arena *arena, const char *object,
                       Crisp__V1__ExplainResponse *response)
{
        struct store_usage usage;
        size_t cursor = 0;
        const struct image *image =
                object[0] ? sources_find(node.sources, node.images, object) : NULL;

        store_usage(node.images, &usage);
        response->images = arena_array(arena, usage.images + 1, sizeof *response->images);
        if (image)
                response->images[response->n_images++] = describe_image(arena, image);
        while (!object[0] && (image = store_next(node.images, &cursor)))
                response->images[response->n_images++] = describe_image(arena, image);
}

static Crisp__V1__ImageCheckup *describe_checkup(struct arena *arena)
{
        struct suspects_progress progress;
        if (!suspects_progress(node.suspects, &progress))
                return NULL;
        Crisp__V1__ImageCheckup *checkup = arena_alloc(arena, sizeof *checkup);
        crisp__v1__image_checkup__init(checkup);
        checkup->started_at = progress.since;
        checkup->image = copied(arena, progress.image ? progress.image : "");
        checkup->step = copied(arena, progress.step);
        checkup->images = progress.images;
        checkup->looked_at = progress.looked_at;
        checkup->mended = progress.mended;
        checkup->removed = progress.removed;
        checkup->unknown = progress.unknown;
        return checkup;
}

int explain_object(struct arena *arena, const char *object, Crisp__V1__ExplainResponse *response,
                   struct error *err)
{
        struct selection selection = {.object = object, .all = !object[0]};
        bool pulls_alone = strcmp(object, "pulls") == 0;

        response->pulls = explain_pulls(arena, pulls_alone ? "" : object, &response->n_pulls);
        if (pulls_alone)
                return 0;
        if (selection.all)
                response->checkup = describe_checkup(arena);
        add_pods(arena, &selection, response);
        add_containers(arena, &selection, response);
        if (selection.by_id > 1)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s begins the IDs of %zu pods and containers: give more of it",
                                 object, selection.by_id);
        /* An image is not looked for by what already says something else: three digits begin the ID
         * of many. */
        if (selection.all || response->n_pods + response->n_containers == 0)
                add_images(arena, object, response);
        if (!selection.all &&
            response->n_pulls + response->n_pods + response->n_containers + response->n_images == 0)
                return error_set(err, ERROR_NOT_FOUND,
                                 "%s: no pod, container, image or pull under way has this name or "
                                 "ID",
                                 object);
        return 0;
}
