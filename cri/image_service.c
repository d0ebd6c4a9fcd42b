/* The CRI's ImageService: images as the kubelet and crictl want to hear of them. */
#include "cri/services.h"

#include <string.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/clock.h"
#include "base/memory.h"
#include "cri/container_usage.h"
#include "cri/node.h"
#include "image/pinned.h"

#define USERNAME_MAX        256 /* bytes with the final zero */
#define IMAGES_IN_A_MESSAGE 500 /* of a stream; some hundred bytes each */

/* The image's name in a request; empty where there is none. */
static const char *spec_name(const Runtime__V1__ImageSpec *spec)
{
        return spec && spec->image ? spec->image : "";
}

static int need_name(const Runtime__V1__ImageSpec *spec, struct error *err)
{
        if (!spec_name(spec)[0])
                return error_set(err, ERROR_INVALID_ARGUMENT, "image.image: empty");
        return 0;
}

/* ---- status and lists ---- */

/* As it was asked for, the same whichever of its names finds it: clients compare. */
static Runtime__V1__ImageSpec *asked_spec(struct arena *arena, const struct image *image)
{
        Runtime__V1__ImageSpec *spec = arena_alloc(arena, sizeof(*spec));
        runtime__v1__image_spec__init(spec);
        spec->image = image->asked;
        spec->user_specified_image = image->user_specified;
        spec->runtime_handler = image->runtime_handler;
        return spec;
}

static Runtime__V1__Image *describe(struct arena *arena, const struct image *image)
{
        char username[USERNAME_MAX];
        int64_t uid;
        Runtime__V1__Image *out = arena_alloc(arena, sizeof(*out));
        runtime__v1__image__init(out);
        out->id = image->id;
        out->n_repo_tags = strv_length(image->tags);
        out->repo_tags = image->tags;
        out->n_repo_digests = strv_length(image->digests);
        out->repo_digests = image->digests;
        out->size = image->size;
        if (image->asked[0])
                out->spec = asked_spec(arena, image);
        out->pinned = image->home || pinned_has(node.pinned_images, image);
        if (store_user_id(image, &uid, username, sizeof(username))) {
                out->uid = arena_alloc(arena, sizeof(*out->uid));
                runtime__v1__int64_value__init(out->uid);
                out->uid->value = uid;
        }
        out->username = arena_strdup(arena, username);
        return out;
}

static int handle_list_images(struct rpc *rpc, const void *request, void *response,
                              struct error *err)
{
        const Runtime__V1__ListImagesRequest *asked = request;
        Runtime__V1__ListImagesResponse *list = response;
        const char *name = asked->filter ? spec_name(asked->filter->image) : "";
        struct store_usage usage;
        const struct image *image;
        size_t cursor = 0;

        store_usage(node.images, &usage);
        list->images = arena_array(rpc->arena, usage.images + 1, sizeof(*list->images));
        if (name[0]) {
                image = sources_find(node.sources, node.images, name);
                if (image)
                        list->images[list->n_images++] = describe(rpc->arena, image);
                return 0;
        }
        while ((image = store_next(node.images, &cursor)))
                list->images[list->n_images++] = describe(rpc->arena, image);
        return 0;
}

/* Images may go while a message is sent, so they are noted by ID first. */
static int handle_stream_images(struct rpc *rpc, const void *request, void *response,
                                struct error *err)
{
        const Runtime__V1__StreamImagesRequest *asked = request;
        const char *name = asked->filter ? spec_name(asked->filter->image) : "";
        const struct image *image = name[0] ? sources_find(node.sources, node.images, name) : NULL;
        struct store_usage usage;
        size_t count = 0, cursor = 0, next = 0;

        store_usage(node.images, &usage);
        const char **ids = arena_array(rpc->arena, usage.images + 1, sizeof(*ids));
        if (image)
                ids[count++] = arena_strdup(rpc->arena, image->id);
        while (!name[0] && (image = store_next(node.images, &cursor)))
                ids[count++] = arena_strdup(rpc->arena, image->id);

        while (next < count) {
                AUTO_ARENA struct arena *arena = arena_new();
                Runtime__V1__Image **images =
                        arena_array(arena, IMAGES_IN_A_MESSAGE, sizeof(*images));
                Runtime__V1__StreamImagesResponse message;
                runtime__v1__stream_images_response__init(&message);
                message.images = images;
                for (; next < count && message.n_images < IMAGES_IN_A_MESSAGE; next++) {
                        image = store_find(node.images, ids[next]);
                        if (image)
                                images[message.n_images++] = describe(arena, image);
                }
                int result = rpc_send(rpc, &message, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

/* What `crictl inspecti` prints: the configuration as it came is JSON already. */
static int add_info(struct rpc *rpc, const char *id, Runtime__V1__ImageStatusResponse *status,
                    struct error *err)
{
        AUTO_BUFFER struct buffer config = BUFFER_INIT;
        int result = store_config_text(node.images, id, &config, err);
        if (result < 0)
                return result;
        Runtime__V1__ImageStatusResponse__InfoEntry *entry =
                arena_alloc(rpc->arena, sizeof(*entry));
        runtime__v1__image_status_response__info_entry__init(entry);
        entry->key = arena_strdup(rpc->arena, "info");
        entry->value = arena_printf(rpc->arena, "{\"imageSpec\":%s}", config.data);
        status->info = arena_array(rpc->arena, 1, sizeof(*status->info));
        status->info[0] = entry;
        status->n_info = 1;
        return 0;
}

static int handle_image_status(struct rpc *rpc, const void *request, void *response,
                               struct error *err)
{
        const Runtime__V1__ImageStatusRequest *asked = request;
        Runtime__V1__ImageStatusResponse *status = response;
        int result = need_name(asked->image, err);
        if (result < 0)
                return result;
        const struct image *image =
                sources_find(node.sources, node.images, spec_name(asked->image));
        if (!image)
                return 0;
        if (asked->verbose) {
                const char *id = arena_strdup(rpc->arena, image->id);
                result = add_info(rpc, id, status, err);
                image = store_find(node.images, id);
                if (!image) {
                        /* It was removed while its configuration was read. */
                        status->n_info = 0;
                        return 0;
                }
                if (result < 0)
                        return result;
        }
        /* The same for each of its names: clients compare. */
        status->image = describe(rpc->arena, image);
        return 0;
}

/* ---- pull and remove ---- */

/* A string that the client left empty was not given. */
static const char *given(const char *text)
{
        return text && text[0] ? text : NULL;
}

static void wipe_auth(Runtime__V1__AuthConfig *auth)
{
        char *secrets[] = {auth->password, auth->auth, auth->identity_token, auth->registry_token,
                           auth->username};
        for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
                if (secrets[i])
                        explicit_bzero(secrets[i], strlen(secrets[i]));
}

static int handle_pull_image(struct rpc *rpc, const void *request, void *response,
                             struct error *err)
{
        const Runtime__V1__PullImageRequest *asked = request;
        Runtime__V1__PullImageResponse *pulled = response;
        Runtime__V1__AuthConfig *auth = asked->auth;
        AUTO_FREE char *id = NULL;
        int result = need_name(asked->image, err);
        if (result < 0)
                return result;

        struct fetch_credentials credentials = {0};
        if (auth)
                credentials = (struct fetch_credentials){
                        .username = given(auth->username),
                        .password = given(auth->password),
                        .auth = given(auth->auth),
                        .identity_token = given(auth->identity_token),
                        .registry_token = given(auth->registry_token),
                        .server_address = given(auth->server_address),
                };
        const Runtime__V1__PodSandboxConfig *pod = asked->sandbox_config;
        struct pull_request pull = {
                .reference = asked->image->image,
                .credentials = auth ? &credentials : NULL,
                .namespace_ = pod && pod->metadata ? pod->metadata->namespace_ : NULL,
                .user_specified = asked->image->user_specified_image,
                .runtime_handler = asked->image->runtime_handler,
                .pod_cgroup = pod && pod->linux ? pod->linux->cgroup_parent : NULL,
        };
        result = pull_image(node.puller, &pull, &id, err);
        if (auth)
                wipe_auth(auth);
        if (result < 0)
                return result;
        pulled->image_ref = arena_strdup(rpc->arena, id);
        return 0;
}

static int handle_remove_image(struct rpc *rpc, const void *request, void *response,
                               struct error *err)
{
        const Runtime__V1__RemoveImageRequest *asked = request;
        int result = need_name(asked->image, err);
        if (result < 0)
                return result;
        const struct image *image =
                sources_find(node.sources, node.images, spec_name(asked->image));
        AUTO_FREE char *id = image ? xstrdup(image->id) : NULL;
        return id ? store_remove(node.images, id, err) : 0;
}

/* ---- file systems ---- */

/* What containers have written, as of the last measurement: it is never waited for. */
static Runtime__V1__UInt64Value *number(struct arena *arena, uint64_t value)
{
        Runtime__V1__UInt64Value *out = arena_alloc(arena, sizeof(*out));
        runtime__v1__uint64_value__init(out);
        out->value = value;
        return out;
}

/* A vector of one usage. used_bytes is always there: the kubelet reads it without asking. */
static Runtime__V1__FilesystemUsage **usage_list(struct arena *arena, const char *directory,
                                                 int64_t timestamp, uint64_t bytes, uint64_t inodes)
{
        Runtime__V1__FilesystemUsage *usage = arena_alloc(arena, sizeof(*usage));
        runtime__v1__filesystem_usage__init(usage);
        usage->timestamp = timestamp;
        usage->fs_id = arena_alloc(arena, sizeof(*usage->fs_id));
        runtime__v1__filesystem_identifier__init(usage->fs_id);
        usage->fs_id->mountpoint = arena_strdup(arena, directory);
        usage->used_bytes = number(arena, bytes);
        usage->inodes_used = number(arena, inodes);
        Runtime__V1__FilesystemUsage **list = arena_array(arena, 1, sizeof(*list));
        list[0] = usage;
        return list;
}

static int handle_image_fs_info(struct rpc *rpc, const void *request, void *response,
                                struct error *err)
{
        Runtime__V1__ImageFsInfoResponse *info = response;
        struct store_usage images;
        struct container_usage_total containers;
        int64_t now = clock_real();

        store_usage(node.images, &images);
        container_usage_refresh();
        container_usage_total(&containers);
        info->image_filesystems =
                usage_list(rpc->arena, images.directory, now, images.bytes, images.inodes);
        info->n_image_filesystems = 1;
        info->container_filesystems = usage_list(rpc->arena, node.containers_dir,
                                                 containers.timestamp ? containers.timestamp : now,
                                                 containers.bytes, containers.inodes);
        info->n_container_filesystems = 1;
        return 0;
}

static const struct rpc_method methods[] = {
        {.name = "ListImages", .handler = handle_list_images},
        {.name = "StreamImages", .handler = handle_stream_images, .streaming = true},
        {.name = "ImageStatus", .handler = handle_image_status},
        {.name = "PullImage", .handler = handle_pull_image, .interruptible = true},
        {.name = "RemoveImage", .handler = handle_remove_image},
        {.name = "ImageFsInfo", .handler = handle_image_fs_info},
};

const struct rpc_service image_service = {
        .descriptor = &runtime__v1__image_service__descriptor,
        .methods = methods,
        .count = sizeof(methods) / sizeof(methods[0]),
};
