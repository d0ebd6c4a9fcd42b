#include "image/fetch/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/fetch/artifact.h"
#include "image/fetch/digest.h"
#include "image/fetch/http.h"
#include "image/fetch/limits.h"
#include "image/fetch/manifest.h"
#include "image/fetch/registry.h"
#include "image/fetch/signatures.h"
#include "image/reference.h"

#define UNAVAILABLE_WORD   "RegistryUnavailable"
#define PROGRESS_PERIOD    (250 * NSEC_PER_MSEC)
#define SYNC_REPORT_PERIOD 5000 /* ms */
#define DIGEST_SHOWN       19   /* "sha256:" and 12 digits: enough to find a layer by */

struct fetch {
        const struct fetch_request *request;
        const struct loaded *loaded;
        struct fetch_limits limits;
        struct reference reference;
        struct stop *stop;
        struct arena *arena;
        struct registry *registry;
        struct http_client *client; /* the main thread's */
        int staging_fd;
        int layers_fd;
        const struct fetch_listener *listener;
        int tars_fd;

        struct manifest manifest;
        struct manifest_config config;
        bool is_artifact;
        struct artifact artifact;
        struct layer_slot *slots; /* one for each layer of the manifest */
        _Atomic int64_t notes_left;

        pthread_mutex_t mutex; /* for the three below */
        size_t next;           /* the first slot that nobody took */
        bool failed;
        struct error error; /* of the first failure */
};

struct layer_slot {
        struct fetch *fetch;
        struct layer_job job;
        bool wanted;
        int64_t reported; /* monotonic time of its last progress report */
};

/* ---- documents ---- */

static int keep_document(struct fetch *fetch, const char *name, const struct buffer *bytes,
                         struct error *err)
{
        AUTO_FD int fd = openat(fetch->staging_fd, name,
                                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(err, errno, "staging: %s", name);
        for (size_t at = 0; at < bytes->length;) {
                ssize_t written = write(fd, bytes->data + at, bytes->length - at);
                if (written < 0)
                        return error_errno(err, errno, "staging: %s", name);
                at += (size_t)written;
        }
        return 0;
}

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
        for (int depth = 0; manifest.is_index; depth++) {
                const struct descriptor *entry;
                char content_type[128] = "";

                if (depth == FETCH_INDEX_DEPTH_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "an index inside an index inside an index");
                if (depth == 0) {
                        result->index_digest = digest;
                        if ((r = keep_document(fetch, "index.json", &body, err)) < 0)
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
        if ((r = keep_document(fetch, "manifest.json", &body, err)) < 0)
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
        return keep_document(fetch, "config.json", &body, err);
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
        return keep_document(fetch, "config.json", &body, err);
}

/* ---- layers ---- */

static void report(void *argument, const struct fetch_progress *progress)
{
        struct layer_slot *slot = argument;
        int64_t now = clock_monotonic();

        if (!progress->done && now - slot->reported < PROGRESS_PERIOD)
                return;
        slot->reported = now;
        slot->fetch->listener->progress(slot->fetch->listener->argument, progress);
}

static void report_done(struct layer_slot *slot)
{
        struct fetch_progress progress = {.digest = slot->job.descriptor->digest,
                                          .bytes = slot->job.descriptor->size,
                                          .total = slot->job.descriptor->size,
                                          .done = true};
        report(slot, &progress);
}

/* All blobs of an artifact come, into one folder. */
static int plan_artifact(struct fetch *fetch, struct fetch_result *result, struct error *err)
{
        int r = artifact_open(&fetch->manifest, fetch->layers_fd, fetch->arena, &fetch->artifact,
                              err);
        if (r < 0)
                return r;
        fetch->slots = xcalloc(fetch->manifest.count + 1, sizeof(fetch->slots[0]));
        for (size_t i = 0; i < fetch->manifest.count; i++) {
                struct layer_slot *slot = &fetch->slots[i];
                slot->fetch = fetch;
                slot->wanted = true;
                slot->job = (struct layer_job){
                        .descriptor = &fetch->manifest.entries[i],
                        .limits = &fetch->limits,
                        .progress = report,
                        .argument = slot,
                };
        }
        result->total_size += fetch->artifact.bytes;
        return 0;
}

/* Decides which layers have to come: each diff ID once, and not those that the store has. */
static int plan_layers(struct fetch *fetch, struct fetch_result *result, struct error *err)
{
        struct table *known = table_new();
        int r = 0;

        for (size_t i = 0; i < fetch->request->present_count; i++)
                table_put(known, fetch->request->present[i], fetch);
        fetch->slots = xcalloc(fetch->manifest.count + 1, sizeof(fetch->slots[0]));
        for (size_t i = 0; i < fetch->manifest.count; i++) {
                const struct descriptor *descriptor = &fetch->manifest.entries[i];
                struct layer_slot *slot = &fetch->slots[i];

                slot->fetch = fetch;
                slot->wanted = table_put(known, fetch->config.diff_ids[i], fetch) == NULL;
                slot->job = (struct layer_job){
                        .descriptor = descriptor,
                        .diff_id = fetch->config.diff_ids[i],
                        .layers_fd = fetch->layers_fd,
                        .tars_fd = fetch->tars_fd,
                        .keyring = fetch->loaded->keyring,
                        .limits = &fetch->limits,
                        .notes_left = &fetch->notes_left,
                        .progress = report,
                        .argument = slot,
                };
                if (__builtin_add_overflow(result->total_size, descriptor->size,
                                           &result->total_size)) {
                        r = error_set(err, ERROR_INVALID_ARGUMENT, "manifest: sizes out of range");
                        break;
                }
        }
        table_free(known);
        return r;
}

static struct layer_slot *take_slot(struct fetch *fetch)
{
        struct layer_slot *slot = NULL;

        pthread_mutex_lock(&fetch->mutex);
        while (!slot && !fetch->failed && fetch->next < fetch->manifest.count) {
                slot = &fetch->slots[fetch->next++];
                if (!slot->wanted)
                        slot = NULL;
        }
        pthread_mutex_unlock(&fetch->mutex);
        return slot;
}

/* Keeps the first failure that is one, and ends the other layers. */
static void fail(struct fetch *fetch, const struct error *err)
{
        pthread_mutex_lock(&fetch->mutex);
        if (!fetch->failed ||
            (fetch->error.code == ERROR_CANCELLED && err->code != ERROR_CANCELLED))
                fetch->error = *err;
        fetch->failed = true;
        pthread_mutex_unlock(&fetch->mutex);
        stop_set(fetch->stop);
}

static int fetch_slot(struct fetch *fetch, struct layer_slot *slot, struct http_client *client,
                      struct error *err)
{
        int r = fetch->is_artifact ? artifact_fetch(&fetch->artifact,
                                                    fetch->artifact.titles[slot - fetch->slots],
                                                    &slot->job, fetch->registry, client, err)
                                   : layer_fetch(&slot->job, fetch->registry, client, err);
        if (r < 0)
                return error_context(err, "layer %zu of %zu (%.*s)",
                                     (size_t)(slot - fetch->slots) + 1, fetch->manifest.count,
                                     DIGEST_SHOWN, slot->job.descriptor->digest);
        report_done(slot);
        return 0;
}

static void *run_worker(void *argument)
{
        struct fetch *fetch = argument;
        AUTO_HTTP_CLIENT struct http_client *client = NULL;
        struct error err = {0};
        struct layer_slot *slot;

        int r = http_client_new(fetch->stop, fetch->limits.connect_timeout,
                                fetch->limits.stall_timeout, &client, &err);
        while (r == 0 && (slot = take_slot(fetch)))
                r = fetch_slot(fetch, slot, client, &err);
        if (r < 0)
                fail(fetch, &err);
        return NULL;
}

static int fetch_layers(struct fetch *fetch, struct error *err)
{
        pthread_t threads[FETCH_PARALLEL_MAX];
        size_t wanted = 0, started = 0;
        struct error start_error = {0};

        for (size_t i = 0; i < fetch->manifest.count; i++)
                wanted += fetch->slots[i].wanted;
        while (started < wanted && started < (size_t)fetch->limits.parallel_layers) {
                int number = pthread_create(&threads[started], NULL, run_worker, fetch);
                if (number != 0) {
                        error_errno(&start_error, number, "starting a thread");
                        fail(fetch, &start_error);
                        break;
                }
                started++;
        }
        for (size_t i = 0; i < started; i++)
                pthread_join(threads[i], NULL);
        if (!fetch->failed)
                return 0;
        *err = fetch->error;
        return err->number;
}

/* ---- the result ---- */

static const char *const *copy_paths(struct arena *arena, const char *const *paths, size_t count)
{
        const char **copy = arena_array(arena, count + 1, sizeof(*copy));
        for (size_t i = 0; i < count; i++)
                copy[i] = arena_strdup(arena, paths[i]);
        return copy;
}

static void describe_layer(struct fetch *fetch, const struct layer_slot *slot,
                           struct fetch_layer *layer)
{
        *layer = (struct fetch_layer){
                .diff_id = slot->job.diff_id,
                .digest = slot->job.descriptor->digest,
                .size = slot->job.descriptor->size,
        };
        if (!slot->wanted)
                return;

        layer->directory = arena_strdup(fetch->arena, slot->job.name);
        layer->unpacked = slot->job.unpacked;
        layer->entries = slot->job.entries;
        tree_notes(slot->job.tree, layer);
        layer->opaque = copy_paths(fetch->arena, layer->opaque, layer->opaque_count);
        layer->implied = copy_paths(fetch->arena, layer->implied, layer->implied_count);
        struct fetch_link *links = arena_array(fetch->arena, layer->link_count + 1, sizeof(*links));
        for (size_t i = 0; i < layer->link_count; i++) {
                links[i].path = arena_strdup(fetch->arena, layer->links[i].path);
                links[i].target = arena_strdup(fetch->arena, layer->links[i].target);
        }
        layer->links = links;
}

static void describe_layers(struct fetch *fetch, struct fetch_result *result)
{
        if (fetch->is_artifact) {
                artifact_describe(&fetch->artifact, &fetch->manifest, fetch->arena, result);
                return;
        }
        struct fetch_layer *layers =
                arena_array(fetch->arena, fetch->manifest.count + 1, sizeof(*layers));
        for (size_t i = 0; i < fetch->manifest.count; i++)
                describe_layer(fetch, &fetch->slots[i], &layers[i]);
        result->layers = layers;
        result->layer_count = fetch->manifest.count;
}

/* ---- to the disk ---- */

struct syncing {
        int fd;
        int number; /* errno of the sync */
        struct stop done;
};

static void *run_sync(void *argument)
{
        struct syncing *syncing = argument;

        syncing->number = syncfs(syncing->fd) < 0 ? errno : 0;
        stop_set(&syncing->done);
        return NULL;
}

/*
 * A slow disk with much to write takes minutes. Who waits for us must not take that for a registry
 * that hangs: the last layer is told again meanwhile.
 */
static int sync_staging(struct fetch *fetch, struct error *err)
{
        struct syncing syncing = {.fd = fetch->staging_fd};
        struct layer_slot *last =
                fetch->manifest.count ? &fetch->slots[fetch->manifest.count - 1] : NULL;
        pthread_t thread;

        stop_init(&syncing.done);
        int number = pthread_create(&thread, NULL, run_sync, &syncing);
        if (number == 0) {
                while (!stop_wait(&syncing.done, SYNC_REPORT_PERIOD)) {
                        if (last)
                                report_done(last);
                }
                pthread_join(thread, NULL);
                number = syncing.number;
        }
        stop_fini(&syncing.done);
        return number == 0 ? 0 : error_errno(err, number, "syncing the image to disk");
}

/* ---- signatures ---- */

/* Nothing more is fetched of an image that is not to be trusted. */
static int find_signatures(struct fetch *fetch, const struct fetch_result *result,
                           struct error *err)
{
        struct fetch_signatures found = {.manifest_digest = result->manifest_digest,
                                         .index_digest = result->index_digest};
        if (!fetch->request->wants_signatures)
                return 0;
        int r = signatures_fetch(fetch->request, fetch->registry, fetch->client, fetch->arena,
                                 &found, err);
        if (r < 0)
                return error_context(err, "signatures");
        return fetch->listener->found(fetch->listener->argument, &found, err);
}

/* ---- the whole ---- */

static int64_t or_default(int64_t value, int64_t fallback)
{
        return value > 0 ? value : fallback;
}

static void complete_limits(struct fetch_limits *limits)
{
        limits->layer_bytes = or_default(limits->layer_bytes, FETCH_LAYER_BYTES);
        limits->unpacked_bytes = or_default(limits->unpacked_bytes, FETCH_UNPACKED_BYTES);
        limits->entries = or_default(limits->entries, FETCH_ENTRIES);
        limits->parallel_layers = or_default(limits->parallel_layers, FETCH_PARALLEL_LAYERS);
        if (limits->parallel_layers > FETCH_PARALLEL_MAX)
                limits->parallel_layers = FETCH_PARALLEL_MAX;
        limits->connect_timeout = or_default(limits->connect_timeout, FETCH_CONNECT_TIMEOUT);
        limits->stall_timeout = or_default(limits->stall_timeout, FETCH_STALL_TIMEOUT);
        limits->retries = or_default(limits->retries, FETCH_RETRIES);
        limits->retry_delay_max = or_default(limits->retry_delay_max, FETCH_RETRY_DELAY_MAX);
}

static int open_staging(struct fetch *fetch, struct error *err)
{
        static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

        fetch->staging_fd = open(fetch->request->staging, flags);
        if (fetch->staging_fd < 0)
                return error_errno(err, errno, "staging folder %s", fetch->request->staging);
        if (mkdirat(fetch->staging_fd, "layers", 0700) < 0 ||
            (fetch->layers_fd = openat(fetch->staging_fd, "layers", flags)) < 0)
                return error_errno(err, errno, "staging folder %s: layers",
                                   fetch->request->staging);
        if (mkdirat(fetch->staging_fd, "tars", 0700) < 0 ||
            (fetch->tars_fd = openat(fetch->staging_fd, "tars", flags)) < 0)
                return error_errno(err, errno, "staging folder %s: tars", fetch->request->staging);
        /* Tells ext4 to spread the layers over the disk: then it does not look for inodes past
         * those just removed. */
        int attributes;
        if (ioctl(fetch->layers_fd, FS_IOC_GETFLAGS, &attributes) == 0) {
                attributes |= FS_TOPDIR_FL;
                ioctl(fetch->layers_fd, FS_IOC_SETFLAGS, &attributes);
        }
        return 0;
}

static int plan(struct fetch *fetch, struct fetch_result *result, struct error *err)
{
        if (fetch->is_artifact)
                return plan_artifact(fetch, result, err);
        int r = get_config(fetch, result, err);
        return r < 0 ? r : plan_layers(fetch, result, err);
}

static int run(struct fetch *fetch, struct fetch_result *result, struct error *err)
{
        const struct fetch_request *request = fetch->request;
        int r;

        fetch->registry = registry_new(fetch->loaded->endpoints, &fetch->limits, fetch->stop);
        if ((r = reference_parse(request->reference, &fetch->reference, err)) < 0 ||
            (r = open_staging(fetch, err)) < 0 ||
            (r = http_client_new(fetch->stop, fetch->limits.connect_timeout,
                                 fetch->limits.stall_timeout, &fetch->client, err)) < 0 ||
            (r = resolve(fetch, result, err)) < 0 ||
            (r = find_signatures(fetch, result, err)) < 0 || (r = plan(fetch, result, err)) < 0 ||
            (r = fetch_layers(fetch, err)) < 0)
                return r;
        if ((r = sync_staging(fetch, err)) < 0)
                return r;
        describe_layers(fetch, result);
        return 0;
}

static void fetch_fini(struct fetch *fetch)
{
        for (size_t i = 0; fetch->slots && i < fetch->manifest.count; i++)
                tree_free(fetch->slots[i].job.tree);
        free(fetch->slots);
        http_client_free(fetch->client);
        registry_free(fetch->registry);
        cleanup_fd(&fetch->layers_fd);
        cleanup_fd(&fetch->artifact.fd);
        cleanup_fd(&fetch->tars_fd);
        cleanup_fd(&fetch->staging_fd);
        pthread_mutex_destroy(&fetch->mutex);
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
                .staging_fd = -1,
                .layers_fd = -1,
                .artifact = {.fd = -1},
                .listener = listener,
                .tars_fd = -1,
                .notes_left = FETCH_NOTES_BYTES_MAX,
        };

        pthread_mutex_init(&fetch.mutex, NULL);
        complete_limits(&fetch.limits);
        int r = run(&fetch, &made, err);
        if (r < 0) {
                if (err->code == ERROR_UNAVAILABLE)
                        error_word(err, UNAVAILABLE_WORD);
                return r;
        }
        *result = made;
        return 0;
}
