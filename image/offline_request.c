#include "image/offline_request.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/line.h"

#define LAYERS_MAX 500 /* of one image */

static const char PLACE[] = "request";

static const char *const KINDS[] = {"pull", "verify", "save", "load", "check"};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- writing ---- */

/* jansson frees its copies of secrets without overwriting them. */
static void wipe_json(json_t *value)
{
        const char *key;
        json_t *member;
        size_t i;

        if (json_is_string(value))
                explicit_bzero((char *)(uintptr_t)json_string_value(value),
                               json_string_length(value));
        json_object_foreach (value, key, member)
                wipe_json(member);
        json_array_foreach (value, i, member)
                wipe_json(member);
}

static json_t *image_to_json(const struct offline_image *image)
{
        json_t *object = json_object();
        line_put_string(object, "id", image->id);
        line_put_string(object, "manifest", image->manifest_digest);
        line_put_strings(object, "layers", image->diff_ids, image->layer_count);
        line_put_string(object, "fixup", image->fixup);
        line_put_strings(object, "names", image->names, image->name_count);
        return object;
}

/* A pull's request inside this one. */
static json_t *fetch_to_json(const struct fetch_request *request)
{
        char *text = request_encode(request);
        json_t *object = NULL;

        json_parse(text, strlen(text), PLACE, &object, NULL);
        request_wipe_text(text);
        free(text);
        return object;
}

char *offline_request_encode(const struct offline_request *request)
{
        AUTO_JSON json_t *line = json_object();

        line_put_string(line, "kind", KINDS[request->kind]);
        line_put_string(line, "store", request->store);
        line_put_strings(line, "additional", request->additional, request->additional_count);
        json_t *images = json_array();
        json_object_set_new(line, "images", images);
        for (size_t i = 0; i < request->image_count; i++)
                json_array_append_new(images, image_to_json(&request->images[i]));
        line_put_integer(line, "format", request->format);
        line_put_integer(line, "compression", request->compression);
        line_put_string(line, "name", request->name);
        json_object_set_new(line, "remote", json_boolean(request->remote));
        if (request->fetch.reference)
                json_object_set_new(line, "fetch", fetch_to_json(&request->fetch));
        char *text = line_finish(line);
        wipe_json(json_object_get(line, "fetch"));
        return text;
}

/* ---- reading ---- */

static int read_kind(const json_t *line, enum offline_kind *kind, struct error *err)
{
        const char *text = KINDS[OFFLINE_PULL];
        int r = json_get_string(line, "kind", PLACE, &text, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < COUNT(KINDS); i++)
                if (strcmp(KINDS[i], text) == 0) {
                        *kind = (enum offline_kind)i;
                        return 0;
                }
        return error_set(err, ERROR_INVALID_ARGUMENT, "request: kind: not known: %.50s", text);
}

int offline_request_kind(const char *line, size_t length, enum offline_kind *kind,
                         struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        int r = json_parse(line, length, PLACE, &value, err);
        if (r == 0 && !json_is_object(value))
                r = error_set(err, ERROR_INVALID_ARGUMENT, "request: expected an object");
        if (r == 0)
                r = read_kind(value, kind, err);
        wipe_json(value);
        return r;
}

static int read_image(const json_t *object, struct arena *arena, struct offline_image *image,
                      struct error *err)
{
        static const char place[] = "request: images";
        int r;

        if ((r = line_need_text(object, "id", place, arena, &image->id, err)) < 0 ||
            (r = line_need_text(object, "manifest", place, arena, &image->manifest_digest, err)) <
                    0 ||
            (r = line_get_strings(object, "layers", place, LAYERS_MAX, arena, &image->diff_ids,
                                  &image->layer_count, err)) < 0 ||
            (r = line_get_text(object, "fixup", place, arena, &image->fixup, err)) < 0)
                return r;
        return line_get_strings(object, "names", place, OFFLINE_NAMES_MAX, arena, &image->names,
                                &image->name_count, err);
}

static int read_images(const json_t *line, struct arena *arena, struct offline_request *request,
                       struct error *err)
{
        json_t *array;
        size_t count;
        int r = line_get_list(line, "images", PLACE, OFFLINE_IMAGES_MAX, &array, &count, err);
        if (r < 0)
                return r;
        struct offline_image *images = arena_array(arena, count + 1, sizeof(*images));
        for (size_t i = 0; r == 0 && i < count; i++)
                r = read_image(json_array_get(array, i), arena, &images[i], err);
        request->images = images;
        request->image_count = count;
        return r;
}

static int read_fetch(const json_t *line, struct arena *arena, struct offline_request *request,
                      struct error *err)
{
        json_t *object = NULL;
        int r = json_get_object(line, "fetch", PLACE, &object, err);
        if (r < 0 || !object)
                return r;
        char *text = json_text(object);
        r = request_decode(text, strlen(text), arena, &request->fetch, err);
        request_wipe_text(text);
        free(text);
        return r;
}

static int read_members(const json_t *line, struct arena *arena, struct offline_request *request,
                        struct error *err)
{
        int64_t format = 0, compression = 0;
        int r;

        if ((r = read_kind(line, &request->kind, err)) < 0 ||
            (r = line_get_text(line, "store", PLACE, arena, &request->store, err)) < 0 ||
            (r = line_get_strings(line, "additional", PLACE, OFFLINE_STORES_MAX - 1, arena,
                                  &request->additional, &request->additional_count, err)) < 0 ||
            (r = read_images(line, arena, request, err)) < 0 ||
            (r = line_get_size(line, "format", PLACE, &format, err)) < 0 ||
            (r = line_get_size(line, "compression", PLACE, &compression, err)) < 0 ||
            (r = line_get_text(line, "name", PLACE, arena, &request->name, err)) < 0 ||
            (r = json_get_bool(line, "remote", PLACE, &request->remote, err)) < 0 ||
            (r = read_fetch(line, arena, request, err)) < 0)
                return r;
        if (format > OFFLINE_DOCKER_ARCHIVE || compression > OFFLINE_ZSTD)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "request: format or compression: not known");
        request->format = (enum offline_format)format;
        request->compression = (enum offline_compression)compression;
        return 0;
}

int offline_request_decode(const char *line, size_t length, struct arena *arena,
                           struct offline_request *request, struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        struct offline_request decoded = {0};

        int r = json_parse(line, length, PLACE, &value, err);
        if (r == 0 && !json_is_object(value))
                r = error_set(err, ERROR_INVALID_ARGUMENT, "request: expected an object");
        if (r == 0)
                r = read_members(value, arena, &decoded, err);
        wipe_json(json_object_get(value, "fetch"));
        if (r == 0)
                *request = decoded;
        return r;
}
