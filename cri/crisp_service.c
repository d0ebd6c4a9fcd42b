/* crisp.v1: what the command line asks for and CRI has no words for. */
#include "cri/services.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/container.h"
#include "cri/container_inspect.h"
#include "cri/explain.h"
#include "cri/image_work.h"
#include "cri/metrics.h"
#include "cri/node.h"
#include "image/layer.h"
#include "image/pinned.h"

#define OBJECTS_IN_A_MESSAGE 200 /* of a stream; an error of 2 KiB each is far below a message */

/* Between two looks at the pulls under way, for a client that watches them. */
#define PROGRESS_PAUSE (100 * NSEC_PER_MSEC)

/* ---- pulls ---- */

/* The message as bytes, to see whether anything has changed. */
static void pack_progress(const Crisp__V1__PullProgressResponse *message, struct buffer *bytes)
{
        size_t size = crisp__v1__pull_progress_response__get_packed_size(message);

        bytes->length = 0;
        uint8_t *room = (uint8_t *)buffer_reserve(bytes, size + 1);
        bytes->length = crisp__v1__pull_progress_response__pack(message, room);
}

static int handle_pull_progress(struct rpc *rpc, const void *request, void *response,
                                struct error *err)
{
        const Crisp__V1__PullProgressRequest *asked = request;
        AUTO_BUFFER struct buffer sent = BUFFER_INIT, now = BUFFER_INIT;
        bool first = true;

        task_set_interruptible(true);
        for (;;) {
                AUTO_ARENA struct arena *arena = arena_new();
                Crisp__V1__PullProgressResponse message;
                crisp__v1__pull_progress_response__init(&message);
                message.pulls = explain_pulls(arena, asked->reference, &message.n_pulls);
                pack_progress(&message, &now);
                if (first || now.length != sent.length ||
                    (now.length && memcmp(now.data, sent.data, now.length) != 0)) {
                        struct buffer swap = sent;
                        sent = now;
                        now = swap;
                        first = false;
                        int result = rpc_send(rpc, &message, err);
                        if (result < 0)
                                return result;
                }
                arena_free(take_ptr(arena));
                if (task_sleep_until(clock_after(PROGRESS_PAUSE)) < 0 || rpc_cancelled(rpc))
                        return error_set(err, ERROR_CANCELLED,
                                         "%s: the client has gone away, or its time is over",
                                         rpc->method);
        }
}

/* ---- explain ---- */

/* The next part of count objects after done. */
static size_t part(size_t count, size_t done)
{
        size_t left = count > done ? count - done : 0;
        return left < OBJECTS_IN_A_MESSAGE ? left : OBJECTS_IN_A_MESSAGE;
}

/* What is told is as of one moment, and copied: objects may go while a message is sent. */
static int handle_explain(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        const Crisp__V1__ExplainRequest *asked = request;
        Crisp__V1__ExplainResponse all;

        crisp__v1__explain_response__init(&all);
        int result = explain_object(rpc->arena, asked->object, &all, err);
        for (size_t done = 0; result == 0; done += OBJECTS_IN_A_MESSAGE) {
                Crisp__V1__ExplainResponse message;
                crisp__v1__explain_response__init(&message);
                if ((message.n_pulls = part(all.n_pulls, done)))
                        message.pulls = all.pulls + done;
                if ((message.n_pods = part(all.n_pods, done)))
                        message.pods = all.pods + done;
                if ((message.n_containers = part(all.n_containers, done)))
                        message.containers = all.containers + done;
                if ((message.n_images = part(all.n_images, done)))
                        message.images = all.images + done;
                message.checkup = done == 0 ? all.checkup : NULL;
                if (message.n_pulls + message.n_pods + message.n_containers + message.n_images ==
                            0 &&
                    !message.checkup)
                        break;
                result = rpc_send(rpc, &message, err);
        }
        return result;
}

/* ---- metrics ---- */

static int handle_metrics(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        Crisp__V1__MetricsResponse *metrics = response;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;

        metrics_write(&text);
        metrics->text = arena_strndup(rpc->arena, text.data, text.length);
        return 0;
}

/* ---- images ---- */

static int handle_image_list(struct rpc *rpc, const void *request, void *response,
                             struct error *err)
{
        const Crisp__V1__ImageListRequest *asked = request;
        const struct image *image;
        struct store_usage usage;
        size_t cursor = 0, count = 0;
        int result = 0;

        store_usage(node.images, &usage);
        Crisp__V1__ImageSummary **all = arena_array(rpc->arena, usage.images + 1, sizeof *all);
        if (asked->image[0]) {
                image = sources_find(node.sources, node.images, asked->image);
                if (image)
                        all[count++] = explain_image(rpc->arena, image);
        }
        while (!asked->image[0] && (image = store_next(node.images, &cursor)))
                all[count++] = explain_image(rpc->arena, image);
        for (size_t done = 0; done < count && result == 0; done += OBJECTS_IN_A_MESSAGE) {
                Crisp__V1__ImageListResponse message;
                crisp__v1__image_list_response__init(&message);
                message.n_images = part(count, done);
                message.images = all + done;
                result = rpc_send(rpc, &message, err);
        }
        return result;
}

static json_t *string_list(char *const *list)
{
        json_t *out = json_array();

        for (size_t i = 0; list && list[i]; i++)
                json_array_append_new(out, json_string(list[i]));
        return out;
}

static json_t *time_text(int64_t time)
{
        char text[40];
        time_t seconds = (time_t)(time / NSEC_PER_SEC);
        struct tm parts;

        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &parts));
        return json_string(text);
}

static json_t *describe_user(const char *id)
{
        const struct container *container = table_get(node.containers, id);
        const Runtime__V1__ContainerMetadata *metadata =
                container ? container_config(container)->metadata : NULL;
        const Runtime__V1__PodSandboxMetadata *pod =
                container ? pod_config(container->pod)->metadata : NULL;
        json_t *out = json_object();

        json_object_set_new(out, "id", json_string(id));
        if (metadata)
                json_object_set_new(out, "name", json_string(metadata->name));
        if (pod) {
                json_object_set_new(out, "pod", json_string(pod->name));
                json_object_set_new(out, "namespace", json_string(pod->namespace_));
        }
        return out;
}

static json_t *describe_layer(const struct layer *layer)
{
        json_t *out = json_object();

        json_object_set_new(out, "diffId", json_string(layer->name));
        json_object_set_new(out, "size", json_integer((json_int_t)layer->bytes));
        json_object_set_new(out, "inodes", json_integer((json_int_t)layer->inodes));
        return out;
}

/* All that memory has of an image. */
static json_t *describe_image(const struct image *image)
{
        json_t *out = json_object(), *users = json_array(), *layers = json_array();
        const char *user;
        size_t cursor = 0;

        while (table_next(image->users, &cursor, &user))
                json_array_append_new(users, describe_user(user));
        for (size_t i = 0; i < image->layer_count; i++)
                json_array_append_new(layers, describe_layer(image->layers[i]));
        json_object_set_new(out, "id", json_string(image->id));
        json_object_set_new(out, "tags", string_list(image->tags));
        json_object_set_new(out, "digests", string_list(image->digests));
        json_object_set_new(out, "manifestDigest", json_string(image->manifest_digest));
        json_object_set_new(out, "os", json_string(image->os));
        json_object_set_new(out, "architecture", json_string(image->architecture));
        json_object_set_new(out, "size", json_integer((json_int_t)image->size));
        json_object_set_new(out, "pulledAt", time_text(image->pulled_at));
        json_object_set_new(out, "pinned",
                            json_boolean(image->home || pinned_has(node.pinned_images, image)));
        json_object_set_new(out, "users", users);
        json_object_set_new(out, "layers", layers);
        return out;
}

/* The object's text with the configuration, which is JSON already, as its last member. */
static char *with_config(struct arena *arena, const json_t *object, const struct buffer *config)
{
        AUTO_FREE char *text = json_text(object);

        return arena_printf(arena, "%.*s,\"config\":%s}", (int)strlen(text) - 1, text,
                            config->data);
}

static int handle_image_inspect(struct rpc *rpc, const void *request, void *response,
                                struct error *err)
{
        const Crisp__V1__ImageInspectRequest *asked = request;
        Crisp__V1__ImageInspectResponse *inspected = response;
        AUTO_BUFFER struct buffer config = BUFFER_INIT;

        if (!asked->image[0])
                return error_set(err, ERROR_INVALID_ARGUMENT, "image: empty");
        const struct image *image = sources_find(node.sources, node.images, asked->image);
        if (!image)
                return error_set(err, ERROR_NOT_FOUND, "no image %s is here", asked->image);
        AUTO_JSON json_t *object = describe_image(image);
        const char *id = arena_strdup(rpc->arena, image->id);
        int result = store_config_text(node.images, id, &config, err);
        if (result < 0)
                return error_context(err, "image %s", asked->image);
        inspected->json = with_config(rpc->arena, object, &config);
        return 0;
}

#define WORK(method, function)                                                                     \
        {                                                                                          \
                .name = (method), .handler = (function), .streaming = true, .interruptible = true  \
        }

/* Handlers of the streams that may last wait interruptibly: they end with their client. */
static const struct rpc_method methods[] = {
        {.name = "PullProgress",
         .handler = handle_pull_progress,
         .streaming = true,
         .interruptible = true},
        {.name = "Explain", .handler = handle_explain, .streaming = true},
        {.name = "Metrics", .handler = handle_metrics},
        {.name = "ImageList", .handler = handle_image_list, .streaming = true},
        {.name = "ImageInspect", .handler = handle_image_inspect},
        WORK("ImageLoad", image_work_load_handler),
        WORK("ImageSave", image_work_save_handler),
        WORK("ImageCheck", image_work_check_handler),
        WORK("ImageVerify", image_work_verify_handler),
        WORK("ImageRepair", image_work_repair_handler),
        {.name = "ContainerInspect", .handler = container_inspect_handler},
        {.name = "ContainerVerify", .handler = container_verify_handler},
        {.name = "ContainerPause", .handler = container_pause_handler},
        {.name = "ContainerUnpause", .handler = container_unpause_handler},
};

const struct rpc_service crisp_service = {
        .descriptor = &crisp__v1__crisp__descriptor,
        .methods = methods,
        .count = sizeof methods / sizeof methods[0],
};
