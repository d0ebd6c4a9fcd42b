#include "image/fetch/save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/fetch/compress.h"
#include "image/fetch/digest.h"
#include "image/fetch/manifest.h"
#include "image/fetch/media.h"
#include "image/fetch/output.h"
#include "image/fetch/split.h"
#include "image/fetch/stored.h"

#define SHOWN_MAX 200

/* What was written. */
struct blob {
        char digest[REFERENCE_DIGEST_MAX + 1];
        int64_t size;
};

struct save {
        const struct offline_request *request;
        const struct stored *stored;
        struct output *output;
        struct report *report;
        struct arena *arena;
        struct table *layers; /* diff IDs to blobs */
        struct table *files;  /* names that were written */
        json_t *list;         /* of manifests: index.json's, or docker-archive's */
};

static bool is_docker(const struct save *save)
{
        return save->request->format == OFFLINE_DOCKER_ARCHIVE;
}

static const char *hex_of(const char *digest)
{
        return strchr(digest, ':') + 1;
}

/* "blobs/sha256/HEX" */
static char *blob_name(const char *digest)
{
        return xprintf("blobs/%.*s/%s", (int)strcspn(digest, ":"), digest, hex_of(digest));
}

/* ---- layers ---- */

struct layer_save {
        struct save *save;
        struct compressor *compressor;
        struct digest *diff;
        int64_t length, made;
        char *damage;
};

static int write_out(void *argument, const void *bytes, size_t length, struct error *err)
{
        return output_write(argument, bytes, length, err);
}

static int pass_on(void *argument, const char *bytes, size_t length, struct error *err)
{
        struct layer_save *layer = argument;

        if (layer->damage)
                return error_set(err, ERROR_DATA_LOSS, "%s", layer->damage);
        digest_add(layer->diff, bytes, length);
        layer->made += (int64_t)length;
        report_progress(layer->save->report, layer->made, layer->length);
        return compressor_add(layer->compressor, bytes, length, err);
}

static void note_damage(void *argument, const char *path, const char *how)
{
        struct layer_save *layer = argument;
        if (!layer->damage)
                layer->damage = xprintf("%.*s: %s", SHOWN_MAX, path, how);
}

static void layer_save_fini(struct layer_save *layer)
{
        compressor_free(layer->compressor);
        digest_free(layer->diff);
        free(layer->damage);
}

/* Opens what the layer is made again from. */
static int open_layer(const struct save *save, const char *diff_id, int *tree_fd, int *record_fd,
                      struct error *err)
{
        *tree_fd = stored_open(save->stored, "layers", diff_id, O_RDONLY | O_DIRECTORY);
        if (*tree_fd < 0)
                return error_errno(err, *tree_fd, "its folder");
        *record_fd = stored_open(save->stored, "tars", diff_id, O_RDONLY | O_NONBLOCK);
        if (*record_fd == -ENOENT)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "there is no record by which it could be made again: an older "
                                 "crisp unpacked it, or it is of a form that cannot be recorded; "
                                 "remove the image and pull it again");
        return *record_fd < 0 ? error_errno(err, *record_fd, "its record") : 0;
}

static int remake_layer(struct layer_save *layer, const char *diff_id, struct error *err)
{
        AUTO_FD int tree_fd = -1;
        AUTO_FD int record_fd = -1;
        struct split_sink sink = {pass_on, note_damage, layer};

        int r = open_layer(layer->save, diff_id, &tree_fd, &record_fd, err);
        if (r == 0)
                r = split_length(record_fd, &layer->length, err);
        if (r == 0)
                r = split_remake(record_fd, tree_fd, &sink, err);
        if (r == 0 && layer->damage)
                r = error_set(err, ERROR_DATA_LOSS, "%s", layer->damage);
        return r == 0 ? digest_check(layer->diff, diff_id, err) : r;
}

static int write_layer(struct save *save, const char *diff_id, struct blob *blob, struct error *err)
{
        CLEANUP(layer_save_fini)
        struct layer_save layer = {.save = save, .diff = digest_new(diff_id)};
        int r;

        report_object(save->report, "layer %s", diff_id);
        if ((r = output_begin(save->output, err)) < 0 ||
            (r = compressor_new(save->request->compression, write_out, save->output,
                                &layer.compressor, err)) < 0 ||
            (r = remake_layer(&layer, diff_id, err)) < 0 ||
            (r = compressor_end(layer.compressor, blob->digest, &blob->size, err)) < 0)
                return error_context(err, "layer %s", diff_id);
        AUTO_FREE char *name =
                is_docker(save) ? xprintf("%s.tar", hex_of(diff_id)) : blob_name(blob->digest);
        return output_end(save->output, name, err);
}

static int save_layer(struct save *save, const char *diff_id, const struct blob **blob,
                      struct error *err)
{
        struct blob *new = table_get(save->layers, diff_id);
        int r = 0;

        if (!new) {
                new = arena_alloc(save->arena, sizeof(*new));
                r = write_layer(save, diff_id, new, err);
                if (r == 0)
                        table_put(save->layers, diff_id, new);
        }
        *blob = new;
        return r;
}

/* ---- documents ---- */

/* Writes a document, once. */
static int put_document(struct save *save, const char *name, const char *bytes, size_t length,
                        struct error *err)
{
        if (table_get(save->files, name))
                return 0;
        int r = output_put(save->output, name, bytes, length, err);
        if (r == 0)
                table_put(save->files, name, save);
        return r;
}

static json_t *descriptor(const char *media_type, const char *digest, int64_t size)
{
        json_t *object = json_object();
        json_object_set_new(object, "mediaType", json_string(media_type));
        json_object_set_new(object, "digest", json_string(digest));
        json_object_set_new(object, "size", json_integer(size));
        return object;
}

static const char *layer_type(enum offline_compression compression)
{
        return compression == OFFLINE_GZIP   ? MEDIA_OCI_LAYER "+gzip"
               : compression == OFFLINE_ZSTD ? MEDIA_OCI_LAYER "+zstd"
                                             : MEDIA_OCI_LAYER;
}

/* The annotations of the manifest that the image came with. */
static json_t *old_annotations(const struct save *save, const struct offline_image *image)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        AUTO_JSON json_t *manifest = NULL;

        if (stored_document(save->stored, "manifests", image->manifest_digest, &bytes, NULL) < 0 ||
            json_parse(bytes.data ? bytes.data : "", bytes.length, "manifest", &manifest, NULL) < 0)
                return NULL;
        json_t *annotations = json_object_get(manifest, "annotations");
        return json_is_object(annotations) ? json_incref(annotations) : NULL;
}

/* An index's entries for the image: one for each of its names. */
static void list_manifest(struct save *save, const struct offline_image *image,
                          const struct platform *platform, const char *digest, int64_t size)
{
        size_t listed = 0;

        for (size_t i = 0; i <= image->name_count; i++) {
                const char *name = i < image->name_count ? image->names[i] : NULL;
                /* Without a name it is there once; a digest would be another manifest's. */
                if (name ? strchr(name, '@') != NULL : listed > 0)
                        continue;
                listed++;
                json_t *entry = descriptor(MEDIA_OCI_MANIFEST, digest, size);
                json_t *place = json_object();
                json_object_set_new(place, "architecture", json_string(platform->architecture));
                json_object_set_new(place, "os", json_string(platform->os));
                if (platform->variant[0])
                        json_object_set_new(place, "variant", json_string(platform->variant));
                json_object_set_new(entry, "platform", place);
                if (name) {
                        json_t *annotations = json_object();
                        json_object_set_new(annotations, MEDIA_REF_NAME, json_string(name));
                        json_object_set_new(annotations, MEDIA_CONTAINERD_NAME, json_string(name));
                        json_object_set_new(entry, "annotations", annotations);
                }
                json_array_append_new(save->list, entry);
        }
}

static int put_oci(struct save *save, const struct offline_image *image,
                   const struct platform *platform, const struct buffer *config, json_t *layers,
                   struct error *err)
{
        char digest[REFERENCE_DIGEST_MAX + 1];
        AUTO_FREE char *config_name = blob_name(image->id);
        int r = put_document(save, config_name, config->data, config->length, err);
        if (r < 0)
                return r;

        AUTO_JSON json_t *manifest = json_object();
        json_object_set_new(manifest, "schemaVersion", json_integer(2));
        json_object_set_new(manifest, "mediaType", json_string(MEDIA_OCI_MANIFEST));
        json_object_set_new(manifest, "config",
                            descriptor(MEDIA_OCI_CONFIG, image->id, (int64_t)config->length));
        json_object_set(manifest, "layers", layers);
        json_t *annotations = old_annotations(save, image);
        if (annotations)
                json_object_set_new(manifest, "annotations", annotations);
        AUTO_FREE char *text = json_text(manifest);
        AUTO_DIGEST struct digest *sum = digest_new(NULL);
        digest_add(sum, text, strlen(text));
        digest_finish(sum, digest);
        AUTO_FREE char *name = blob_name(digest);
        r = put_document(save, name, text, strlen(text), err);
        if (r == 0)
                list_manifest(save, image, platform, digest, (int64_t)strlen(text));
        return r;
}

static int put_docker(struct save *save, const struct offline_image *image,
                      const struct buffer *config, json_t *layers, struct error *err)
{
        AUTO_FREE char *name = xprintf("%s.json", hex_of(image->id));
        int r = put_document(save, name, config->data, config->length, err);
        if (r < 0)
                return r;

        json_t *entry = json_object();
        json_t *tags = json_array();
        for (size_t i = 0; i < image->name_count; i++)
                if (!strchr(image->names[i], '@'))
                        json_array_append_new(tags, json_string(image->names[i]));
        json_object_set_new(entry, "Config", json_string(name));
        json_object_set_new(entry, "RepoTags", tags);
        json_object_set(entry, "Layers", layers);
        json_array_append_new(save->list, entry);
        return 0;
}

/* ---- images ---- */

static int save_layers(struct save *save, const struct offline_image *image, json_t *layers,
                       struct error *err)
{
        for (size_t i = 0; i < image->layer_count; i++) {
                const struct blob *blob;
                int r = save_layer(save, image->diff_ids[i], &blob, err);
                if (r < 0)
                        return r;
                if (is_docker(save)) {
                        AUTO_FREE char *name = xprintf("%s.tar", hex_of(image->diff_ids[i]));
                        json_array_append_new(layers, json_string(name));
                } else {
                        json_array_append_new(layers,
                                              descriptor(layer_type(save->request->compression),
                                                         blob->digest, blob->size));
                }
        }
        return 0;
}

static int save_image(struct save *save, const struct offline_image *image, struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        AUTO_JSON json_t *layers = json_array();
        struct manifest_config config;
        int r;

        if ((r = stored_document(save->stored, "configs", image->id, &bytes, err)) < 0 ||
            (r = manifest_config_parse(bytes.data ? bytes.data : "", bytes.length, save->arena,
                                       &config, err)) < 0)
                return error_context(err, "configuration");
        if ((r = save_layers(save, image, layers, err)) < 0)
                return r;
        return is_docker(save) ? put_docker(save, image, &bytes, layers, err)
                               : put_oci(save, image, &config.platform, &bytes, layers, err);
}

static int put_list(struct save *save, struct error *err)
{
        static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
        int r;

        if (is_docker(save)) {
                AUTO_FREE char *text = json_text(save->list);
                return put_document(save, "manifest.json", text, strlen(text), err);
        }
        AUTO_JSON json_t *index = json_object();
        json_object_set_new(index, "schemaVersion", json_integer(2));
        json_object_set_new(index, "mediaType", json_string(MEDIA_OCI_INDEX));
        json_object_set(index, "manifests", save->list);
        AUTO_FREE char *text = json_text(index);
        if ((r = put_document(save, "oci-layout", layout, sizeof(layout) - 1, err)) < 0)
                return r;
        return put_document(save, "index.json", text, strlen(text), err);
}

static int check_request(const struct offline_request *request, struct error *err)
{
        if (request->image_count == 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "no image to save");
        if (request->format == OFFLINE_DOCKER_ARCHIVE && request->compression != OFFLINE_PLAIN)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "the layers of a docker-archive are not compressed");
        for (size_t i = 0; i < request->image_count; i++) {
                bool valid = digest_is_valid(request->images[i].id) &&
                             digest_is_valid(request->images[i].manifest_digest);
                for (size_t j = 0; valid && j < request->images[i].layer_count; j++)
                        valid = digest_is_valid(request->images[i].diff_ids[j]);
                if (!valid)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "request: images: expected digests");
        }
        return 0;
}

static void save_fini(struct save *save)
{
        output_free(save->output);
        arena_free(save->arena);
        table_free(save->layers);
        table_free(save->files);
        json_decref(save->list);
}

int save_run(const struct offline_request *request, const struct stored *stored, int output_fd,
             struct report *report, struct error *err)
{
        int r = check_request(request, err);
        if (r < 0)
                return r;
        CLEANUP(save_fini)
        struct save save = {
                .request = request,
                .stored = stored,
                .output = output_new(output_fd, request->format == OFFLINE_OCI_FOLDER),
                .report = report,
                .arena = arena_new(),
                .layers = table_new(),
                .files = table_new(),
                .list = json_array(),
        };
        for (size_t i = 0; r == 0 && i < request->image_count; i++) {
                r = save_image(&save, &request->images[i], err);
                if (r < 0)
                        error_context(err, "image %s", request->images[i].id);
        }
        if (r == 0)
                r = put_list(&save, err);
        if (r == 0)
                r = output_finish(save.output, err);
        if (r == 0)
                report_done(report);
        return r;
}
