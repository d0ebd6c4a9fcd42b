#include "image/fetch/fetch.h"

#include <string.h>

#include "image/fetch/artifact.h"
#include "image/fetch/digest.h"
#include "image/fetch/http.h"
#include "image/fetch/limits.h"
#include "image/fetch/manifest.h"
#include "image/fetch/registry.h"
#include "image/fetch/signatures.h"
#include "image/fetch/stage.h"
#include "image/fetch/window.h"
#include "image/reference.h"

#define UNAVAILABLE_WORD "RegistryUnavailable"

struct fetch {
        const struct fetch_request *request;
        const struct loaded *loaded;
        struct fetch_limits limits;
        struct reference reference;
        struct stop *stop;
        struct arena *arena;
        struct registry *registry;
        struct http_client *client; /* the main thread's */
        struct stage stage;
        const struct fetch_listener *listener;

        struct manifest manifest;
        struct manifest_config config;
        const char *root_media_type; /* of what the name stands for */
        int64_t root_size;
        bool is_artifact;
        struct artifact artifact;
        struct layers *layers;
};

/* ---- documents ---- */

/* A document of known digest and size. */
static int get_checked(struct fetch *fetch, const char *kind, const struct descriptor *descriptor,
                       struct buffer *body, char content_type[128], struct error *err)
{
        if (descriptor->size > FETCH_DOCUMENT_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "%lld bytes, more than %u",
                                 (long long)descriptor->size, FETCH_DOCUMENT_MAX);
        const char *accept = strcmp(kind, "manifests") == 0 ? MANIFEST_ACCEPT : NULL;
        int r = registry_get(fetch->registry, fetch->client, kind, descriptor->digest, accept,
                             FETCH_DOCUMENT_MAX, body, content_type, err);
        if (r < 0)
                return r;
        if ((int64_t)body->length != descriptor->size)
                return error_set(err, ERROR_DATA_LOSS, "it has %zu bytes instead of %lld",
                                 body->length, (long long)descriptor->size);
        return digest_check_bytes(body->data, body->length, descriptor->digest, err);
}

/* What the name stands for: an index or a manifest. */
static int get_root(struct fetch *fetch, struct buffer *body, struct manifest *manifest,
                    const char **digest, struct error *err)
{
        const struct reference *reference = &fetch->reference;
        const char *name = reference->digest[0] ? reference->digest : reference->tag;
        char content_type[128] = "";
        char actual[REFERENCE_DIGEST_MAX + 1];

        int r = registry_get(fetch->registry, fetch->client, "manifests", name, MANIFEST_ACCEPT,
                             FETCH_DOCUMENT_MAX, body, content_type, err);
        if (r < 0)
                return error_context(err, "manifest %s", name);
        /* The server's own word for the digest counts for nothing. */
        AUTO_DIGEST struct digest *sum =
                digest_new(reference->digest[0] ? reference->digest : NULL);
        digest_add(sum, body->data, body->length);
        digest_finish(sum, actual);
        if (reference->digest[0] && strcmp(actual, reference->digest) != 0)
                return error_set(err, ERROR_DATA_LOSS, "manifest %s: its digest is %s", name,
                                 actual);
        r = manifest_parse(body->data, body->length, content_type, fetch->arena, manifest, err);
        if (r < 0)
                return error_context(err, "manifest %s", name);
        *digest = arena_strdup(fetch->arena, actual);
        return 0;
}

/* Follows indexes down to the image for this platform. */
static int resolve(struct fetch *fetch, struct fetch_result *result, struct error *err)
{
        AUTO_BUFFER struct buffer body = BUFFER_INIT;
        struct platform platform = platform_complete(
                fetch->request->os, fetch->request->architecture, fetch->request->variant);
        struct manifest manifest = {0};
        const char *digest = NULL;

        int r = get_root(fetch, &body, &manifest, &digest, err);
        if (r < 0)
                return r;
        result->repo_digest = digest;
        fetch->root_media_type = manifest.media_type;
        fetch->root_size = (int64_t)body.length;
        for (int depth = 0; manifest.is_index; depth++) {
                const struct descriptor *entry;
                char content_type[128] = "";

                if (depth == FETCH_INDEX_DEPTH_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "an index inside an index inside an index");
                if (depth == 0) {
                        result->index_digest = digest;
                        if ((r = stage_keep(&fetch->stage, "index.json", &body, err)) < 0)
                                return r;
                }
                if ((r = manifest_select(&manifest, &platform, &entry, err)) < 0)
                        return r;
                body.length = 0;
                r = get_checked(fetch, "manifests", entry, &body, content_type, err);
                if (r == 0)
                        r = manifest_parse(body.data, body.length, content_type, fetch->arena,
                                           &manifest, err);
                if (r < 0)
                        return error_context(err, "manifest %s", entry->digest);
                digest = entry->digest;
        }
        if ((r = stage_keep(&fetch->stage, "manifest.json", &body, err)) < 0)
                return r;
        result->manifest_digest = digest;
        result->manifest_media_type = manifest.media_type;
        result->total_size = (int64_t)body.length;
        fetch->manifest = manifest;
        fetch->is_artifact = artifact_is(&manifest);
        if (!fetch->is_artifact)
                return 0;
        /* Its manifest is all that says what it is, and gives the ID as a configuration would. */
        result->artifact = true;
        result->config_digest = digest;
        return stage_keep(&fetch->stage, "config.json", &body, err);
}

static int get_config(struct fetch *fetch, struct fetch_result *result, struct error *err)
{
        AUTO_BUFFER struct buffer body = BUFFER_INIT;
        const struct descriptor *descriptor = &fetch->manifest.config;
        char content_type[128] = "";

        int r = get_checked(fetch, "blobs", descriptor, &body, content_type, err);
        if (r == 0)
                r = manifest_config_parse(body.data, body.length, fetch->arena, &fetch->config,
                                          err);
        if (r < 0)
                return error_context(err, "image configuration %s", descriptor->digest);
        if (fetch->config.count != fetch->manifest.count)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "the manifest has %zu layers and the image configuration %zu",
                                 fetch->manifest.count, fetch->config.count);
        const char *os = fetch->config.platform.os;
        if (os[0] && strcmp(os, "linux") != 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the image is for %.50s, and this machine runs linux", os);
        result->config_digest = descriptor->digest;
        result->config_size = descriptor->size;
        result->total_size += descriptor->size;
        return stage_keep(&fetch->stage, "config.json", &body, err);
}

/* ---- to the disk ---- */

/* Who waits for us must not take a slow disk for a registry that hangs. */
static void report_last(void *argument)
{
        const struct fetch *fetch = argument;
        layers_report_last(fetch->layers);
}

/* ---- signatures ---- */

/* Nothing more is fetched of an image that is not to be trusted. */
static int find_signatures(struct fetch *fetch, const struct fetch_result *result,
                           struct error *err)
{
        struct fetch_signatures found = {.manifest_digest = result->manifest_digest,
                                         .index_digest = result->index_digest,
                                         .media_type = fetch->root_media_type,
                                         .size = fetch->root_size};
        if (!fetch->request->wants_signatures)
                return 0;
        int r = signatures_fetch(fetch->request, fetch->registry, fetch->client, fetch->arena,
                                 &found, err);
        if (r < 0)
                return error_context(err, "signatures");
        return fetch->listener->found(fetch->listener->argument, &found, err);
}

/* ---- the whole ---- */

static void plan_layers(struct fetch *fetch)
{
        struct layers_options options = {
                .request = fetch->request,
                .loaded = fetch->loaded,
                .limits = &fetch->limits,
                .manifest = &fetch->manifest,
                .diff_ids = fetch->config.diff_ids,
                .artifact = fetch->is_artifact ? &fetch->artifact : NULL,
                .registry = fetch->registry,
                .stop = fetch->stop,
                .listener = fetch->listener,
                .staging_fd = fetch->stage.fd,
                .layers_fd = fetch->stage.layers_fd,
                .tars_fd = fetch->stage.tars_fd,
        };
        fetch->layers = layers_new(&options);
}

static int run(struct fetch *fetch, struct fetch_result *result, struct error *err)
{
        const struct fetch_request *request = fetch->request;
        int r;

        fetch->registry = registry_new(fetch->loaded->endpoints, &fetch->limits, fetch->stop);
        if ((r = reference_parse(request->reference, &fetch->reference, err)) < 0 ||
            (r = stage_open(request->staging, &fetch->stage, err)) < 0 ||
            (r = http_client_new(fetch->stop, fetch->limits.connect_timeout,
                                 fetch->limits.stall_timeout, &fetch->client, err)) < 0)
                return r;
        http_client_set_rate(fetch->client, fetch->limits.min_rate);
        window_use_folder(fetch->stage.fd);
        if ((r = resolve(fetch, result, err)) < 0 ||
            (r = find_signatures(fetch, result, err)) < 0 ||
            (r = fetch->is_artifact ? artifact_open(&fetch->manifest, fetch->stage.layers_fd,
                                                    fetch->arena, &fetch->artifact, err)
                                    : get_config(fetch, result, err)) < 0)
                return r;
        plan_layers(fetch);
        if ((r = layers_add_sizes(fetch->layers, &result->total_size, err)) < 0 ||
            (r = layers_fetch(fetch->layers, err)) < 0 ||
            (r = stage_sync(&fetch->stage, report_last, fetch, err)) < 0)
                return r;
        if (fetch->is_artifact)
                artifact_describe(&fetch->artifact, &fetch->manifest, fetch->arena, result);
        else
                layers_describe(fetch->layers, fetch->arena, result);
        return 0;
}

static void fetch_fini(struct fetch *fetch)
{
        layers_free(fetch->layers);
        http_client_free(fetch->client);
        registry_free(fetch->registry);
        cleanup_fd(&fetch->artifact.fd);
        window_use_folder(-1);
        stage_fini(&fetch->stage);
}

int fetch_run(const struct fetch_request *request, const struct loaded *loaded, struct stop *stop,
              const struct fetch_listener *listener, struct arena *arena,
              struct fetch_result *result, struct error *err)
{
        struct fetch_result made = {0};
        CLEANUP(fetch_fini)
        struct fetch fetch = {
                .request = request,
                .loaded = loaded,
                .limits = request->limits,
                .stop = stop,
                .arena = arena,
                .stage = STAGE_INIT,
                .artifact = {.fd = -1},
                .listener = listener,
        };

        stage_complete_limits(&fetch.limits);
        int r = run(&fetch, &made, err);
        if (r < 0) {
                if (err->code == ERROR_UNAVAILABLE)
                        error_word(err, UNAVAILABLE_WORD);
                return r;
        }
        *result = made;
        return 0;
}
