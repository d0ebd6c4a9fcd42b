#include "image/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/memory.h"

#define LAYERS_MAX 4096       /* of one image; overlayfs itself stops at 500 */
#define NOTES_MAX  (4u << 20) /* opaque folders, implied folders or links of one layer */

/* ---- writing ---- */

static void put_string(json_t *object, const char *key, const char *value)
{
        if (value)
                json_object_set_new(object, key, json_string(value));
}

static void put_integer(json_t *object, const char *key, int64_t value)
{
        json_object_set_new(object, key, json_integer(value));
}

static char *finish_line(json_t *object)
{
        AUTO_FREE char *text = json_text(object);
        size_t length = strlen(text);
        char *line = xrealloc(NULL, length + 2);

        memcpy(line, text, length);
        memcpy(line + length, "\n", 2);
        request_wipe_text(text);
        return line;
}

void request_wipe_text(char *text)
{
        if (text)
                explicit_bzero(text, strlen(text));
}

/*
 * File names are bytes and JSON is UTF-8: what is not plain ASCII is written as %XX.
 */
static json_t *path_to_json(const char *path)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;

        for (const char *c = path; *c; c++) {
                unsigned char byte = (unsigned char)*c;
                if (byte < 0x20 || byte >= 0x7f || byte == '%')
                        buffer_printf(&text, "%%%02x", byte);
                else
                        buffer_add(&text, c, 1);
        }
        return json_string(text.data ? text.data : "");
}

static void put_paths(json_t *object, const char *key, const char *const *paths, size_t count)
{
        if (count == 0)
                return;
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++)
                json_array_append_new(array, path_to_json(paths[i]));
        json_object_set_new(object, key, array);
}

/* ---- reading ---- */

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

static int path_from_json(const json_t *value, struct arena *arena, const char **path,
                          struct error *err)
{
        const char *text = json_string_value(value);
        if (!text)
                return error_set(err, ERROR_INVALID_ARGUMENT, "expected a path");

        char *out = arena_alloc(arena, strlen(text) + 1);
        char *to = out;
        for (const char *c = text; *c; c++) {
                if (*c != '%') {
                        *to++ = *c;
                        continue;
                }
                int high = hex_value(c[1]);
                int low = high < 0 ? -1 : hex_value(c[2]);
                if (low < 0 || (high == 0 && low == 0))
                        return error_set(err, ERROR_INVALID_ARGUMENT, "wrong %% in a path");
                *to++ = (char)(high * 16 + low);
                c += 2;
        }
        *to = '\0';
        *path = out;
        return 0;
}

static int get_text(const json_t *object, const char *key, const char *place, struct arena *arena,
                    const char **value, struct error *err)
{
        const char *text = NULL;
        int r = json_get_string(object, key, place, &text, err);
        if (r == 0)
                *value = arena_strdup(arena, text);
        return r;
}

/* The same where the member must be there. */
static int need_text(const json_t *object, const char *key, const char *place, struct arena *arena,
                     const char **value, struct error *err)
{
        int r = get_text(object, key, place, arena, value, err);
        if (r == 0 && !*value)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s is missing", place, key);
        return r;
}

static int get_size(const json_t *object, const char *key, const char *place, int64_t *value,
                    struct error *err)
{
        int64_t number = 0;
        int r = json_get_int(object, key, place, &number, err);
        if (r < 0)
                return r;
        if (number < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s is negative", place, key);
        *value = number;
        return 0;
}

/* An array of at most max members; *count is 0 when absent. */
static int get_list(const json_t *object, const char *key, const char *place, size_t max,
                    json_t **array, size_t *count, struct error *err)
{
        json_t *found = NULL;
        int r = json_get_array(object, key, place, &found, err);
        if (r < 0)
                return r;
        if (json_array_size(found) > max)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s has more than %zu members",
                                 place, key, max);
        *array = found;
        *count = json_array_size(found);
        return 0;
}

static int get_paths(const json_t *object, const char *key, const char *place, struct arena *arena,
                     const char *const **paths, size_t *count, struct error *err)
{
        json_t *array;
        size_t found;
        int r = get_list(object, key, place, NOTES_MAX, &array, &found, err);
        if (r < 0 || found == 0)
                return r;

        const char **list = arena_array(arena, found, sizeof(*list));
        for (size_t i = 0; i < found; i++) {
                r = path_from_json(json_array_get(array, i), arena, &list[i], err);
                if (r < 0)
                        return error_context(err, "%s: %s", place, key);
        }
        *paths = list;
        *count = found;
        return 0;
}

/* ---- the request ---- */

struct text_member {
        const char *key;
        size_t offset;
};

struct number_member {
        const char *key;
        size_t offset;
};

static const struct text_member CREDENTIALS[] = {
        {"username", offsetof(struct fetch_credentials, username)},
        {"password", offsetof(struct fetch_credentials, password)},
        {"auth", offsetof(struct fetch_credentials, auth)},
        {"identity_token", offsetof(struct fetch_credentials, identity_token)},
        {"registry_token", offsetof(struct fetch_credentials, registry_token)},
        {"server_address", offsetof(struct fetch_credentials, server_address)},
};

static const struct number_member LIMITS[] = {
        {"layer_bytes", offsetof(struct fetch_limits, layer_bytes)},
        {"unpacked_bytes", offsetof(struct fetch_limits, unpacked_bytes)},
        {"entries", offsetof(struct fetch_limits, entries)},
        {"parallel_layers", offsetof(struct fetch_limits, parallel_layers)},
        {"connect_timeout", offsetof(struct fetch_limits, connect_timeout)},
        {"stall_timeout", offsetof(struct fetch_limits, stall_timeout)},
        {"retries", offsetof(struct fetch_limits, retries)},
        {"retry_delay_max", offsetof(struct fetch_limits, retry_delay_max)},
};

#define COUNT(array)                (sizeof(array) / sizeof((array)[0]))
#define MEMBER(object, entry, type) ((type *)(void *)((char *)(object) + (entry).offset))
#define CONST_MEMBER(object, entry, type)                                                          \
        ((const type *)(const void *)((const char *)(object) + (entry).offset))

char *request_encode(const struct fetch_request *request)
{
        AUTO_JSON json_t *line = json_object();
        put_string(line, "reference", request->reference);
        put_string(line, "staging", request->staging);
        put_string(line, "os", request->os);
        put_string(line, "architecture", request->architecture);
        put_string(line, "variant", request->variant);

        json_t *endpoints = json_array();
        json_object_set_new(line, "endpoints", endpoints);
        for (size_t i = 0; i < request->endpoint_count; i++) {
                json_t *endpoint = json_object();
                put_string(endpoint, "url", request->endpoints[i].url);
                put_string(endpoint, "repository", request->endpoints[i].repository);
                json_object_set_new(endpoint, "insecure",
                                    json_boolean(request->endpoints[i].insecure));
                json_array_append_new(endpoints, endpoint);
        }

        json_t *present = json_array();
        json_object_set_new(line, "present", present);
        for (size_t i = 0; i < request->present_count; i++)
                json_array_append_new(present, json_string(request->present[i]));

        json_t *credentials = json_object();
        json_object_set_new(line, "credentials", credentials);
        for (size_t i = 0; i < COUNT(CREDENTIALS); i++)
                put_string(credentials, CREDENTIALS[i].key,
                           *CONST_MEMBER(&request->credentials, CREDENTIALS[i], char *));

        json_t *limits = json_object();
        json_object_set_new(line, "limits", limits);
        for (size_t i = 0; i < COUNT(LIMITS); i++)
                put_integer(limits, LIMITS[i].key,
                            *CONST_MEMBER(&request->limits, LIMITS[i], int64_t));

        char *text = finish_line(line);

        /* jansson frees its copies of the secrets without overwriting them. */
        const char *key;
        json_t *value;
        json_object_foreach (credentials, key, value)
                explicit_bzero((char *)(uintptr_t)json_string_value(value),
                               json_string_length(value));
        return text;
}

static int decode_endpoints(const json_t *line, struct arena *arena, struct fetch_request *request,
                            struct error *err)
{
        json_t *array;
        size_t count;
        int r = get_list(line, "endpoints", "request", REQUEST_ENDPOINTS_MAX, &array, &count, err);
        if (r < 0 || count == 0)
                return r;

        struct fetch_endpoint *endpoints = arena_array(arena, count, sizeof(*endpoints));
        for (size_t i = 0; i < count; i++) {
                const json_t *value = json_array_get(array, i);
                if (!json_is_object(value))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "request: endpoints: expected objects");
                if ((r = need_text(value, "url", "endpoint", arena, &endpoints[i].url, err)) < 0 ||
                    (r = get_text(value, "repository", "endpoint", arena, &endpoints[i].repository,
                                  err)) < 0 ||
                    (r = json_get_bool(value, "insecure", "endpoint", &endpoints[i].insecure,
                                       err)) < 0)
                        return r;
        }
        request->endpoints = endpoints;
        request->endpoint_count = count;
        return 0;
}

static int decode_members(const json_t *line, struct arena *arena, struct fetch_request *request,
                          struct error *err)
{
        int r;
        json_t *object = NULL;

        if ((r = need_text(line, "reference", "request", arena, &request->reference, err)) < 0 ||
            (r = need_text(line, "staging", "request", arena, &request->staging, err)) < 0 ||
            (r = get_text(line, "os", "request", arena, &request->os, err)) < 0 ||
            (r = get_text(line, "architecture", "request", arena, &request->architecture, err)) <
                    0 ||
            (r = get_text(line, "variant", "request", arena, &request->variant, err)) < 0 ||
            (r = decode_endpoints(line, arena, request, err)) < 0)
                return r;

        json_t *present;
        size_t count;
        r = get_list(line, "present", "request", REQUEST_PRESENT_MAX, &present, &count, err);
        if (r < 0)
                return r;
        const char **list = arena_array(arena, count + 1, sizeof(*list));
        for (size_t i = 0; i < count; i++) {
                list[i] = arena_strdup(arena, json_string_value(json_array_get(present, i)));
                if (!list[i])
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "request: present: expected strings");
        }
        request->present = list;
        request->present_count = count;

        if ((r = json_get_object(line, "limits", "request", &object, err)) < 0)
                return r;
        for (size_t i = 0; object && i < COUNT(LIMITS); i++) {
                r = get_size(object, LIMITS[i].key, "limits",
                             MEMBER(&request->limits, LIMITS[i], int64_t), err);
                if (r < 0)
                        return r;
        }

        object = NULL;
        if ((r = json_get_object(line, "credentials", "request", &object, err)) < 0)
                return r;
        for (size_t i = 0; object && i < COUNT(CREDENTIALS); i++) {
                r = get_text(object, CREDENTIALS[i].key, "credentials", arena,
                             MEMBER(&request->credentials, CREDENTIALS[i], const char *), err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Overwrites the secrets in a parsed request, which jansson would free as they are. */
static void wipe_parsed(json_t *line)
{
        const char *key;
        json_t *value;

        json_object_foreach (json_object_get(line, "credentials"), key, value) {
                if (json_is_string(value))
                        explicit_bzero((char *)(uintptr_t)json_string_value(value),
                                       json_string_length(value));
        }
}

int request_decode(const char *line, size_t length, struct arena *arena,
                   struct fetch_request *request, struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        struct fetch_request decoded = {0};

        int r = json_parse(line, length, "request", &value, err);
        if (r < 0)
                return r;
        if (!json_is_object(value))
                return error_set(err, ERROR_INVALID_ARGUMENT, "request: expected an object");
        r = decode_members(value, arena, &decoded, err);
        wipe_parsed(value);
        if (r < 0) {
                request_wipe(&decoded);
                return r;
        }
        *request = decoded;
        return 0;
}

void request_wipe(struct fetch_request *request)
{
        for (size_t i = 0; i < COUNT(CREDENTIALS); i++) {
                char **text = MEMBER(&request->credentials, CREDENTIALS[i], char *);
                request_wipe_text(*text);
                *text = NULL;
        }
}

/* ---- replies ---- */

static json_t *layer_to_json(const struct fetch_layer *layer)
{
        json_t *object = json_object();

        put_string(object, "diff_id", layer->diff_id);
        put_string(object, "digest", layer->digest);
        put_integer(object, "size", layer->size);
        put_string(object, "directory", layer->directory);
        put_integer(object, "unpacked", layer->unpacked);
        put_integer(object, "entries", layer->entries);
        put_paths(object, "opaque", layer->opaque, layer->opaque_count);
        put_paths(object, "implied", layer->implied, layer->implied_count);
        if (layer->link_count > 0) {
                json_t *links = json_array();
                for (size_t i = 0; i < layer->link_count; i++) {
                        json_t *link = json_object();
                        json_object_set_new(link, "path", path_to_json(layer->links[i].path));
                        json_object_set_new(link, "target", path_to_json(layer->links[i].target));
                        json_array_append_new(links, link);
                }
                json_object_set_new(object, "links", links);
        }
        return object;
}

static json_t *result_to_json(const struct fetch_result *result)
{
        json_t *object = json_object();

        put_string(object, "manifest_digest", result->manifest_digest);
        put_string(object, "manifest_media_type", result->manifest_media_type);
        put_string(object, "index_digest", result->index_digest);
        put_string(object, "repo_digest", result->repo_digest);
        put_string(object, "config_digest", result->config_digest);
        put_integer(object, "config_size", result->config_size);
        put_integer(object, "total_size", result->total_size);
        json_t *layers = json_array();
        for (size_t i = 0; i < result->layer_count; i++)
                json_array_append_new(layers, layer_to_json(&result->layers[i]));
        json_object_set_new(object, "layers", layers);
        return object;
}

/* A message may quote a registry that does not speak UTF-8. */
static json_t *text_to_json(const char *text)
{
        json_t *value = json_string(text);
        if (value)
                return value;

        AUTO_FREE char *plain = xstrdup(text);
        for (char *c = plain; *c; c++) {
                if ((unsigned char)*c >= 0x80)
                        *c = '?';
        }
        return json_string(plain);
}

char *reply_encode(const struct fetch_reply *reply)
{
        AUTO_JSON json_t *line = json_object();
        json_t *object;

        switch (reply->kind) {
        case FETCH_PROGRESS:
                object = json_object();
                put_string(object, "digest", reply->progress.digest);
                put_integer(object, "bytes", reply->progress.bytes);
                put_integer(object, "total", reply->progress.total);
                json_object_set_new(object, "done", json_boolean(reply->progress.done));
                json_object_set_new(line, "progress", object);
                break;
        case FETCH_RESULT:
                json_object_set_new(line, "result", result_to_json(&reply->result));
                break;
        case FETCH_ERROR:
                object = json_object();
                put_integer(object, "code", reply->error.code);
                put_string(object, "name", error_code_name(reply->error.code));
                put_string(object, "word", reply->error.word);
                json_object_set_new(object, "message", text_to_json(reply->error.message));
                json_object_set_new(line, "error", object);
                break;
        }
        return finish_line(line);
}

static int decode_layer(const json_t *object, struct arena *arena, struct fetch_layer *layer,
                        struct error *err)
{
        int r;
        json_t *links;
        size_t count;

        if (!json_is_object(object))
                return error_set(err, ERROR_INVALID_ARGUMENT, "result: layers: expected objects");
        if ((r = need_text(object, "diff_id", "layer", arena, &layer->diff_id, err)) < 0 ||
            (r = need_text(object, "digest", "layer", arena, &layer->digest, err)) < 0 ||
            (r = get_size(object, "size", "layer", &layer->size, err)) < 0 ||
            (r = get_text(object, "directory", "layer", arena, &layer->directory, err)) < 0 ||
            (r = get_size(object, "unpacked", "layer", &layer->unpacked, err)) < 0 ||
            (r = get_size(object, "entries", "layer", &layer->entries, err)) < 0 ||
            (r = get_paths(object, "opaque", "layer", arena, &layer->opaque, &layer->opaque_count,
                           err)) < 0 ||
            (r = get_paths(object, "implied", "layer", arena, &layer->implied,
                           &layer->implied_count, err)) < 0 ||
            (r = get_list(object, "links", "layer", NOTES_MAX, &links, &count, err)) < 0)
                return r;

        struct fetch_link *list = arena_array(arena, count + 1, sizeof(*list));
        for (size_t i = 0; i < count; i++) {
                const json_t *link = json_array_get(links, i);
                r = path_from_json(json_object_get(link, "path"), arena, &list[i].path, err);
                if (r == 0)
                        r = path_from_json(json_object_get(link, "target"), arena, &list[i].target,
                                           err);
                if (r < 0)
                        return error_context(err, "layer: links");
        }
        layer->links = list;
        layer->link_count = count;
        return 0;
}

static int decode_result(const json_t *object, struct arena *arena, struct fetch_result *result,
                         struct error *err)
{
        static const char place[] = "result";
        int r;
        json_t *layers;
        size_t count;

        if ((r = need_text(object, "manifest_digest", place, arena, &result->manifest_digest,
                           err)) < 0 ||
            (r = need_text(object, "manifest_media_type", place, arena,
                           &result->manifest_media_type, err)) < 0 ||
            (r = get_text(object, "index_digest", place, arena, &result->index_digest, err)) < 0 ||
            (r = need_text(object, "repo_digest", place, arena, &result->repo_digest, err)) < 0 ||
            (r = need_text(object, "config_digest", place, arena, &result->config_digest, err)) <
                    0 ||
            (r = get_size(object, "config_size", place, &result->config_size, err)) < 0 ||
            (r = get_size(object, "total_size", place, &result->total_size, err)) < 0 ||
            (r = get_list(object, "layers", place, LAYERS_MAX, &layers, &count, err)) < 0)
                return r;

        struct fetch_layer *list = arena_array(arena, count + 1, sizeof(*list));
        for (size_t i = 0; i < count; i++) {
                r = decode_layer(json_array_get(layers, i), arena, &list[i], err);
                if (r < 0)
                        return r;
        }
        result->layers = list;
        result->layer_count = count;
        return 0;
}

static int decode_error(const json_t *object, struct error *told, struct error *err)
{
        static const char place[] = "error";
        int64_t code = ERROR_UNKNOWN;
        const char *word = "", *message = "";
        int r;

        if ((r = json_get_int(object, "code", place, &code, err)) < 0 ||
            (r = json_get_string(object, "word", place, &word, err)) < 0 ||
            (r = json_get_string(object, "message", place, &message, err)) < 0)
                return r;
        if (code <= ERROR_OK || code > ERROR_UNAUTHENTICATED)
                return error_set(err, ERROR_INVALID_ARGUMENT, "error: no such code");
        error_set(told, (enum error_code)code, "%s", message);
        if (word[0])
                error_word(told, word);
        return 0;
}

int reply_decode(const char *line, size_t length, struct arena *arena, struct fetch_reply *reply,
                 struct error *err)
{
        AUTO_JSON json_t *value = NULL;
        struct fetch_reply decoded = {0};
        static const char place[] = "progress";

        int r = json_parse(line, length, "reply", &value, err);
        if (r < 0)
                return r;

        const json_t *object;
        if ((object = json_object_get(value, "progress"))) {
                decoded.kind = FETCH_PROGRESS;
                if ((r = need_text(object, "digest", place, arena, &decoded.progress.digest, err)) <
                            0 ||
                    (r = get_size(object, "bytes", place, &decoded.progress.bytes, err)) < 0 ||
                    (r = get_size(object, "total", place, &decoded.progress.total, err)) < 0)
                        return r;
                r = json_get_bool(object, "done", place, &decoded.progress.done, err);
        } else if ((object = json_object_get(value, "result"))) {
                decoded.kind = FETCH_RESULT;
                r = decode_result(object, arena, &decoded.result, err);
        } else if ((object = json_object_get(value, "error"))) {
                decoded.kind = FETCH_ERROR;
                r = decode_error(object, &decoded.error, err);
        } else {
                r = error_set(err, ERROR_INVALID_ARGUMENT,
                              "reply: neither progress, result nor error");
        }
        if (r == 0)
                *reply = decoded;
        return r;
}
