#include "image/record.h"

#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/layer.h"

static const char PLACE[] = "image record";

struct image *image_new(void)
{
        struct image *image = xcalloc(1, sizeof(*image));
        image->users = table_new();
        return image;
}

void image_free(struct image *image)
{
        if (!image)
                return;
        free(image->id);
        strv_free(image->tags);
        strv_free(image->digests);
        free(image->manifest_digest);
        free(image->user);
        free(image->os);
        free(image->architecture);
        free(image->asked);
        free(image->user_specified);
        free(image->runtime_handler);
        free(image->layers);
        table_free(image->users);
        free(image);
}

/* ---- writing ---- */

static void put_text(json_t *object, const char *key, const char *text)
{
        json_object_set_new(object, key, json_string(text));
}

static void put_texts(json_t *object, const char *key, char *const *texts)
{
        json_t *array = json_array();
        for (; texts && *texts; texts++)
                json_array_append_new(array, json_string(*texts));
        json_object_set_new(object, key, array);
}

static void put_number(json_t *object, const char *key, uint64_t number)
{
        json_object_set_new(object, key, json_integer((json_int_t)number));
}

static json_t *layer_to_json(const struct layer *layer)
{
        json_t *object = json_object();
        put_text(object, "diff_id", layer->name);
        put_number(object, "bytes", layer->bytes);
        put_number(object, "inodes", layer->inodes);
        json_object_set_new(object, "noted", json_boolean(layer->noted));
        json_object_set_new(object, "bare_root", json_boolean(layer->bare_root));
        return object;
}

char *record_encode(const struct image *image)
{
        AUTO_JSON json_t *record = json_object();
        put_number(record, "version", RECORD_VERSION);
        put_text(record, "id", image->id);
        put_number(record, "generation", image->generation);
        json_object_set_new(record, "removed", json_boolean(image->removed));
        json_object_set_new(record, "artifact", json_boolean(image->artifact));
        put_texts(record, "tags", image->removed ? NULL : image->tags);
        put_texts(record, "digests", image->removed ? NULL : image->digests);
        put_text(record, "manifest", image->manifest_digest);
        put_number(record, "size", image->size);
        put_text(record, "user", image->user);
        put_text(record, "os", image->os);
        put_text(record, "architecture", image->architecture);
        put_number(record, "pulled_at", (uint64_t)image->pulled_at);
        put_text(record, "asked", image->asked);
        put_text(record, "user_specified", image->user_specified);
        put_text(record, "runtime_handler", image->runtime_handler);
        json_t *layers = json_array();
        for (size_t i = 0; i < image->layer_count; i++)
                json_array_append_new(layers, layer_to_json(image->layers[i]));
        json_object_set_new(record, "layers", layers);
        if (image->fixup)
                json_object_set_new(record, "fixup", layer_to_json(image->fixup));
        return json_text(record);
}

/* ---- reading ---- */

static int wrong(struct error *err, const char *what)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s", PLACE, what);
}

static int get_text(const json_t *object, const char *key, char **value, struct error *err)
{
        const char *text = "";
        int result = json_get_string(object, key, PLACE, &text, err);
        if (result == 0)
                *value = xstrdup(text);
        return result;
}

static int get_number(const json_t *object, const char *key, uint64_t *value, struct error *err)
{
        int64_t number = 0;
        int result = json_get_int(object, key, PLACE, &number, err);
        if (result < 0)
                return result;
        if (number < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: negative", PLACE, key);
        *value = (uint64_t)number;
        return 0;
}

static int get_names(const json_t *object, const char *key, char ***value, struct error *err)
{
        int result = json_get_strings(object, key, PLACE, value, err);
        if (result < 0)
                return result;
        if (strv_length(*value) > RECORD_NAMES_MAX)
                return wrong(err, "too many names");
        if (*value && !**value)
                strv_free(take_ptr(*value));
        for (char **name = *value; name && *name; name++) {
                struct reference reference;
                result = reference_parse(*name, &reference, err);
                if (result < 0)
                        return error_context(err, "%s: %s", PLACE, key);
        }
        return 0;
}

static int get_layer(const json_t *object, bool is_fixup, struct layer **value, struct error *err)
{
        AUTO_FREE char *name = NULL;
        int r;
        if (!json_is_object(object))
                return wrong(err, "layers: expected objects");
        if ((r = get_text(object, "diff_id", &name, err)) < 0)
                return r;
        if (!digest_is_valid(name))
                return wrong(err, "layers: not a diff ID");

        struct layer *layer = layer_new(name, is_fixup);
        if ((r = get_number(object, "bytes", &layer->bytes, err)) < 0 ||
            (r = get_number(object, "inodes", &layer->inodes, err)) < 0 ||
            (r = json_get_bool(object, "noted", PLACE, &layer->noted, err)) < 0 ||
            (r = json_get_bool(object, "bare_root", PLACE, &layer->bare_root, err)) < 0) {
                layer_free(layer);
                return r;
        }
        *value = layer;
        return 0;
}

static int get_layers(const json_t *record, struct image *image, struct error *err)
{
        json_t *layers = NULL, *fixup = NULL;
        int r;
        if ((r = json_get_array(record, "layers", PLACE, &layers, err)) < 0 ||
            (r = json_get_object(record, "fixup", PLACE, &fixup, err)) < 0)
                return r;
        if (json_array_size(layers) > STORE_LAYERS_MAX)
                return wrong(err, "too many layers");
        image->layers = xcalloc(json_array_size(layers), sizeof(struct layer *));
        size_t index;
        json_t *layer;
        json_array_foreach (layers, index, layer) {
                if ((r = get_layer(layer, false, &image->layers[index], err)) < 0)
                        return r;
                image->layers[index]->is_artifact = image->artifact;
                image->layer_count++;
        }
        if (!fixup)
                return 0;
        if ((r = get_layer(fixup, true, &image->fixup, err)) < 0)
                return r;
        /* In version 1 it had the image's ID: it stays under that name, with nobody to share it. */
        if (strcmp(image->fixup->name, image->id) == 0)
                return 0;
        AUTO_FREE char *chain_id =
                image->layer_count ? layer_chain_id(image->layers, image->layer_count) : NULL;
        return chain_id && strcmp(image->fixup->name, chain_id) == 0
                       ? 0
                       : wrong(err, "fixup: not that of its layers");
}

static int get_members(const json_t *record, const char *expected, struct image *image,
                       struct error *err)
{
        uint64_t version = 0, pulled_at = 0;
        int r;
        if (!json_is_object(record))
                return wrong(err, "expected an object");
        if ((r = get_number(record, "version", &version, err)) < 0)
                return r;
        if (version < 1 || version > RECORD_VERSION)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: version %llu, which this crisp does not know", PLACE,
                                 (unsigned long long)version);
        if ((r = get_text(record, "id", &image->id, err)) < 0 ||
            (r = get_text(record, "manifest", &image->manifest_digest, err)) < 0 ||
            (r = get_text(record, "user", &image->user, err)) < 0 ||
            (r = get_text(record, "os", &image->os, err)) < 0 ||
            (r = get_text(record, "architecture", &image->architecture, err)) < 0 ||
            (r = get_text(record, "asked", &image->asked, err)) < 0 ||
            (r = get_text(record, "user_specified", &image->user_specified, err)) < 0 ||
            (r = get_text(record, "runtime_handler", &image->runtime_handler, err)) < 0 ||
            (r = get_number(record, "generation", &image->generation, err)) < 0 ||
            (r = get_number(record, "size", &image->size, err)) < 0 ||
            (r = get_number(record, "pulled_at", &pulled_at, err)) < 0 ||
            (r = json_get_bool(record, "removed", PLACE, &image->removed, err)) < 0 ||
            (r = json_get_bool(record, "artifact", PLACE, &image->artifact, err)) < 0 ||
            (r = get_names(record, "tags", &image->tags, err)) < 0 ||
            (r = get_names(record, "digests", &image->digests, err)) < 0)
                return r;
        image->pulled_at = (int64_t)pulled_at;
        if (!digest_is_valid(image->id) || strcmp(image->id, expected) != 0)
                return wrong(err, "id: not what the file's name says");
        if (!digest_is_valid(image->manifest_digest))
                return wrong(err, "manifest: not a digest");
        return get_layers(record, image, err);
}

int record_decode(const char *bytes, size_t length, const char *expected, struct image **image,
                  struct error *err)
{
        AUTO_JSON json_t *record = NULL;
        int result = json_parse(bytes, length, PLACE, &record, err);
        if (result < 0)
                return result;
        AUTO_IMAGE struct image *decoded = image_new();
        result = get_members(record, expected, decoded, err);
        if (result < 0) {
                for (size_t i = 0; i < decoded->layer_count; i++)
                        layer_free(decoded->layers[i]);
                layer_free(decoded->fixup);
                return result;
        }
        *image = take_ptr(decoded);
        return 0;
}
