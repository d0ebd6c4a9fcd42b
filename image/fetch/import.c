#include "image/fetch/import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "image/fetch/import_private.h"
#include "image/fetch/limits.h"
#include "image/reference.h"

#define FEED_SIZE  (256u << 10)
#define SPOOL_MAX  (4 * FETCH_UNPACKED_BYTES)
#define LAYER_TEXT 24

/* ---- layers ---- */

/* Hands the blob's bytes to the unpacker, and checks their digest where they have one. */
static int feed(struct import *import, const struct archive_file *file, const char *digest,
                struct ring *ring, struct error *err)
{
        AUTO_DIGEST struct digest *sum = digest_new(digest);
        AUTO_FREE char *bytes = xcalloc(1, FEED_SIZE);

        for (int64_t at = 0; at < file->size;) {
                ssize_t count = archive_read_at(file, bytes, FEED_SIZE, at);
                if (count < 0)
                        return error_errno(err, (int)count, "reading the archive");
                if (digest)
                        digest_add(sum, bytes, (size_t)count);
                if (ring_write(ring, bytes, (size_t)count) < 0)
                        return error_set(err, ERROR_CANCELLED, "cancelled");
                at += count;
                report_progress(import->report, at, file->size);
        }
        return digest ? digest_check(sum, digest, err) : 0;
}

static int unpack_blob(struct import *import, struct layer_job *job,
                       const struct archive_file *file, const char *digest, struct error *err)
{
        AUTO_RING struct ring *ring = ring_new(FETCH_RING_SIZE);
        struct layer_unpacker *unpacker;
        struct error unpack_error = {0};

        int r = layer_unpacker_start(job, ring, &unpacker, err);
        if (r < 0)
                return r;
        r = feed(import, file, digest, ring, err);
        if (r < 0)
                ring_break(ring);
        else
                ring_finish(ring);
        int unpacked = layer_unpacker_join(unpacker, &unpack_error);
        if (r < 0 && err->code != ERROR_CANCELLED)
                return r;
        if (unpacked < 0)
                return error_set(err, unpack_error.code, "%s", unpack_error.message);
        return r;
}

/* Unpacks one layer, unless it is here; digest may be null, where only the diff ID is known. */
static int import_layer(struct import *import, const struct stage *stage,
                        const struct import_layer *layer, struct fetch_layer *described,
                        struct error *err)
{
        AUTO_ARCHIVE_FILE struct archive_file file = {0};
        struct descriptor descriptor = {.digest = layer->digest ? layer->digest : layer->diff_id};
        struct layer_job job = {
                .descriptor = &descriptor,
                .diff_id = layer->diff_id,
                .layers_fd = stage->layers_fd,
                .tars_fd = stage->tars_fd,
                .limits = &import->limits,
                .notes_left = &import->notes_left,
        };

        report_object(import->report, "layer %s", layer->diff_id);
        int r = archive_open(import->index, layer->name, &file, err);
        if (r < 0)
                return r;
        if (layer->size >= 0 && file.size != layer->size)
                return error_set(err, ERROR_DATA_LOSS, "it has %lld bytes instead of %lld",
                                 (long long)file.size, (long long)layer->size);
        if (file.size > import->limits.layer_bytes)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "%lld bytes, more than the bound of %lld for a layer",
                                 (long long)file.size, (long long)import->limits.layer_bytes);
        descriptor.size = file.size;
        bool wanted = !table_get(import->known, layer->diff_id);
        if (wanted)
                r = unpack_blob(import, &job, &file, layer->digest, err);
        if (r == 0) {
                stage_describe(&job, wanted, import->arena, described);
                table_put(import->known, layer->diff_id, import);
        }
        tree_free(job.tree);
        return r;
}

static int import_layers(struct import *import, const struct stage *stage,
                         const struct import_image *image, struct fetch_layer *layers,
                         struct error *err)
{
        for (size_t i = 0; i < image->layer_count; i++) {
                int r = import_layer(import, stage, &image->layers[i], &layers[i], err);
                if (r < 0)
                        return error_context(err, "layer %zu of %zu (%.*s)", i + 1,
                                             image->layer_count, LAYER_TEXT, image->layers[i].name);
        }
        return 0;
}

/* ---- images ---- */

static int fill_stage(struct import *import, const struct stage *stage,
                      const struct import_image *image, struct fetch_layer *layers,
                      struct error *err)
{
        int r;

        if ((r = stage_keep(stage, "manifest.json", &image->manifest, err)) < 0 ||
            (r = stage_keep(stage, "config.json", &image->config, err)) < 0)
                return r;
        return import_layers(import, stage, image, layers, err);
}

int import_image(struct import *import, const struct import_image *image, struct error *err)
{
        CLEANUP(stage_fini) struct stage stage = STAGE_INIT;
        AUTO_FREE char *path = xprintf("%s/%zu", import->staging, import->done_count);
        struct fetch_layer *layers =
                arena_array(import->arena, image->layer_count + 1, sizeof(*layers));

        if (import->done_count == OFFLINE_IMAGES_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "more than %d images",
                                 OFFLINE_IMAGES_MAX);
        if (mkdir(path, 0700) < 0)
                return error_errno(err, errno, "making a staging folder");
        int r = stage_open(path, &stage, err);
        if (r == 0)
                r = fill_stage(import, &stage, image, layers, err);
        if (r < 0)
                return r;
        struct offline_reply *reply = &import->done[import->done_count];
        *reply = (struct offline_reply){
                .kind = OFFLINE_SAYS_LOADED,
                .directory = arena_printf(import->arena, "%zu", import->done_count),
                .names = image->names,
                .name_count = image->name_count,
                .result =
                        {
                                .manifest_digest = image->manifest_digest,
                                .manifest_media_type = image->media_type,
                                .repo_digest = image->manifest_digest,
                                .config_digest = image->config_digest,
                                .config_size = (int64_t)image->config.length,
                                .total_size = (int64_t)image->config.length,
                                .layers = layers,
                                .layer_count = image->layer_count,
                        },
        };
        import->done_count++;
        return 0;
}

int import_config(struct import *import, struct import_image *image, struct manifest_config *config,
                  size_t layers, struct error *err)
{
        int r = manifest_config_parse(image->config.data ? image->config.data : "",
                                      image->config.length, import->arena, config, err);
        if (r < 0)
                return r;
        if (config->count != layers)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "the manifest has %zu layers and the image configuration %zu",
                                 layers, config->count);
        if (config->platform.os[0] && strcmp(config->platform.os, "linux") != 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the image is for %.50s, and this machine runs linux",
                                 config->platform.os);
        return 0;
}

/* ---- names ---- */

int import_add_name(struct import *import, struct import_image *image, const char *text,
                    struct error *err)
{
        struct reference reference;
        int r = reference_parse(text, &reference, err);

        if (r < 0)
                return error_context(err, "the image's name");
        AUTO_FREE char *full = reference_text(&reference);
        for (size_t i = 0; i < image->name_count; i++)
                if (strcmp(image->names[i], full) == 0)
                        return 0;
        if (image->name_count == OFFLINE_NAMES_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "more than %d names of one image",
                                 OFFLINE_NAMES_MAX);
        const char **names = arena_array(import->arena, image->name_count + 2, sizeof(*names));
        for (size_t i = 0; i < image->name_count; i++)
                names[i] = image->names[i];
        names[image->name_count++] = arena_strdup(import->arena, full);
        image->names = names;
        return 0;
}

int import_need_name(struct import *import, struct import_image *image, struct error *err)
{
        if (image->name_count > 0)
                return 0;
        if (!import->request->name)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the archive does not say what the image %.*s is called: give it "
                                 "a name (crisp images load --name)",
                                 LAYER_TEXT, image->config_digest ? image->config_digest : "");
        return import_add_name(import, image, import->request->name, err);
}

/* ---- the whole ---- */

static int sync_and_say(struct import *import, struct error *err)
{
        struct stage whole = STAGE_INIT;

        whole.fd = import->staging_fd;
        int r = stage_sync(&whole, NULL, NULL, err);
        for (size_t i = 0; r == 0 && i < import->done_count; i++)
                import->report->say(import->report->argument, &import->done[i]);
        if (r == 0)
                report_done(import->report);
        return r;
}

static int run(struct import *import, int fd, struct error *err)
{
        int r;

        import->staging_fd = open(import->staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (import->staging_fd < 0)
                return error_errno(err, errno, "staging folder %s", import->staging);
        r = archive_index_new(fd, import->staging_fd, SPOOL_MAX, &import->index, err);
        if (r < 0)
                return r;
        if (archive_has(import->index, "oci-layout") && archive_has(import->index, "index.json"))
                r = import_oci(import, err);
        else if (archive_has(import->index, "manifest.json"))
                r = import_docker(import, err);
        else
                r = error_set(err, ERROR_INVALID_ARGUMENT,
                              "neither an OCI layout (oci-layout, index.json) nor a "
                              "docker-archive (manifest.json)");
        return r < 0 ? r : sync_and_say(import, err);
}

static void import_fini(struct import *import)
{
        archive_index_free(import->index);
        cleanup_fd(&import->staging_fd);
        table_free(import->known);
        free(import->done);
}

int import_run(const struct offline_request *request, int fd, struct report *report,
               struct arena *arena, struct error *err)
{
        CLEANUP(import_fini)
        struct import import = {
                .request = request,
                .staging = request->fetch.staging,
                .staging_fd = -1,
                .limits = request->fetch.limits,
                .notes_left = FETCH_NOTES_BYTES_MAX,
                .report = report,
                .arena = arena,
                .known = table_new(),
                .done = xcalloc(OFFLINE_IMAGES_MAX, sizeof(struct offline_reply)),
        };

        stage_complete_limits(&import.limits);
        for (size_t i = 0; i < request->fetch.present_count; i++)
                table_put(import.known, request->fetch.present[i], &import);
        return run(&import, fd, err);
}
