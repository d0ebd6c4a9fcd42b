/* docker-archive: manifest.json names a configuration and tar files. */
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "image/fetch/import_private.h"
#include "image/fetch/limits.h"
#include "image/fetch/media.h"
#include "image/fetch/path.h"

static const char PLACE[] = "manifest.json";

static int wrong(struct error *err, const char *what)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s", PLACE, what);
}

/* A file's name in the archive, made plain. */
static int plain_name(struct import *import, const json_t *value, const char **name,
                      struct error *err)
{
        struct path path;
        char text[2 * FETCH_PATH_MAX];

        if (!json_is_string(value))
                return wrong(err, "expected names of files");
        int r = path_parse(json_string_value(value), &path, err);
        if (r < 0)
                return error_context(err, "%s", PLACE);
        if (path.kind != PATH_ENTRY)
                return wrong(err, "a name that is no file's");
        path_join(&path, text);
        *name = arena_strdup(import->arena, text);
        return 0;
}

static int read_config(struct import *import, const json_t *entry, struct import_image *image,
                       struct error *err)
{
        char digest[REFERENCE_DIGEST_MAX + 1];
        const char *name;
        int r = plain_name(import, json_object_get(entry, "Config"), &name, err);

        if (r == 0)
                r = archive_get(import->index, name, FETCH_DOCUMENT_MAX, &image->config, err);
        if (r < 0)
                return r;
        AUTO_DIGEST struct digest *sum = digest_new(NULL);
        digest_add(sum, image->config.data ? image->config.data : "", image->config.length);
        digest_finish(sum, digest);
        image->config_digest = arena_strdup(import->arena, digest);
        return 0;
}

static int read_layers(struct import *import, const json_t *entry, struct import_image *image,
                       struct error *err)
{
        struct manifest_config config = {0};
        json_t *array = NULL;
        int r = json_get_array(entry, "Layers", PLACE, &array, err);

        if (r == 0 && json_array_size(array) > FETCH_LAYERS_MAX)
                r = error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %d layers", PLACE,
                              FETCH_LAYERS_MAX);
        if (r == 0)
                r = import_config(import, image, &config, json_array_size(array), err);
        if (r < 0)
                return r;
        struct import_layer *layers = arena_array(import->arena, config.count + 1, sizeof(*layers));
        for (size_t i = 0; i < config.count; i++) {
                r = plain_name(import, json_array_get(array, i), &layers[i].name, err);
                if (r < 0)
                        return r;
                layers[i].size = -1;
                layers[i].diff_id = config.diff_ids[i];
        }
        image->layers = layers;
        image->layer_count = config.count;
        return 0;
}

static json_t *descriptor(const char *media_type, const char *digest, int64_t size)
{
        json_t *object = json_object();
        json_object_set_new(object, "mediaType", json_string(media_type));
        json_object_set_new(object, "size", json_integer(size));
        json_object_set_new(object, "digest", json_string(digest));
        return object;
}

/* There is no manifest in such an archive: one is made, of its layers as they are in it. */
static int make_manifest(struct import *import, struct import_image *image, struct error *err)
{
        char digest[REFERENCE_DIGEST_MAX + 1];
        AUTO_JSON json_t *manifest = json_object();
        json_t *layers = json_array();

        json_object_set_new(manifest, "schemaVersion", json_integer(2));
        json_object_set_new(manifest, "mediaType", json_string(MEDIA_DOCKER_MANIFEST));
        json_object_set_new(manifest, "config",
                            descriptor(MEDIA_DOCKER_CONFIG, image->config_digest,
                                       (int64_t)image->config.length));
        json_object_set_new(manifest, "layers", layers);
        for (size_t i = 0; i < image->layer_count; i++) {
                AUTO_ARCHIVE_FILE struct archive_file file = {0};
                int r = archive_open(import->index, image->layers[i].name, &file, err);
                if (r < 0)
                        return r;
                json_array_append_new(layers, descriptor(MEDIA_DOCKER_LAYER,
                                                         image->layers[i].diff_id, file.size));
        }
        AUTO_FREE char *text = json_text(manifest);
        buffer_add_text(&image->manifest, text);
        AUTO_DIGEST struct digest *sum = digest_new(NULL);
        digest_add(sum, text, strlen(text));
        digest_finish(sum, digest);
        image->manifest_digest = arena_strdup(import->arena, digest);
        image->media_type = MEDIA_DOCKER_MANIFEST;
        return 0;
}

static int read_names(struct import *import, const json_t *entry, struct import_image *image,
                      struct error *err)
{
        json_t *tags = json_object_get(entry, "RepoTags");

        if (tags && !json_is_null(tags) && !json_is_array(tags))
                return wrong(err, "RepoTags: expected an array");
        for (size_t i = 0; i < json_array_size(tags); i++) {
                const char *text = json_string_value(json_array_get(tags, i));
                int r = text ? import_add_name(import, image, text, err)
                             : wrong(err, "RepoTags: expected strings");
                if (r < 0)
                        return r;
        }
        return import_need_name(import, image, err);
}

static int import_one(struct import *import, const json_t *entry, struct error *err)
{
        AUTO_IMPORT_IMAGE struct import_image image = {0};
        int r;

        if (!json_is_object(entry))
                return wrong(err, "expected objects");
        if ((r = read_config(import, entry, &image, err)) < 0 ||
            (r = read_layers(import, entry, &image, err)) < 0 ||
            (r = read_names(import, entry, &image, err)) < 0 ||
            (r = make_manifest(import, &image, err)) < 0)
                return r;
        return import_image(import, &image, err);
}

int import_docker(struct import *import, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *list = NULL;

        int r = archive_get(import->index, PLACE, FETCH_DOCUMENT_MAX, &text, err);
        if (r == 0)
                r = json_parse(text.data ? text.data : "", text.length, PLACE, &list, err);
        if (r < 0)
                return r;
        if (!json_is_array(list) || json_array_size(list) == 0)
                return wrong(err, "expected an array of images");
        for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
                r = import_one(import, json_array_get(list, i), err);
                if (r < 0)
                        error_context(err, "image %zu of %zu", i + 1, json_array_size(list));
        }
        return r;
}
