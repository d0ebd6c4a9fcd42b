#include "image/request.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/memory.h"
#include "image/line.h"

void request_wipe_text(char *text)
{
        if (text)
                explicit_bzero(text, strlen(text));
}

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
        {"min_rate", offsetof(struct fetch_limits, min_rate)},
        {"disk_reserve", offsetof(struct fetch_limits, disk_reserve)},
};

#define COUNT(array)                (sizeof(array) / sizeof((array)[0]))
#define MEMBER(object, entry, type) ((type *)(void *)((char *)(object) + (entry).offset))
#define CONST_MEMBER(object, entry, type)                                                          \
        ((const type *)(const void *)((const char *)(object) + (entry).offset))

static void wipe_string(json_t *value)
{
        if (json_is_string(value))
                explicit_bzero((char *)(uintptr_t)json_string_value(value),
                               json_string_length(value));
}

/* Overwrites the secrets in a request's tree, which jansson would free as they are. */
static void wipe_parsed(json_t *line)
{
        const char *key;
        json_t *endpoint, *value;
        size_t i, j;

        json_array_foreach (json_object_get(line, "endpoints"), i, endpoint) {
                json_object_foreach (json_object_get(endpoint, "credentials"), key, value)
                        wipe_string(value);
                json_array_foreach (json_object_get(endpoint, "headers"), j, value)
                        wipe_string(value);
        }
}

static json_t *endpoint_to_json(const struct fetch_endpoint *endpoint)
{
        json_t *object = json_object();
        line_put_string(object, "url", endpoint->url);
        line_put_string(object, "repository", endpoint->repository);
        line_put_string(object, "ns", endpoint->ns);
        json_object_set_new(object, "insecure", json_boolean(endpoint->insecure));
        json_object_set_new(object, "exact_path", json_boolean(endpoint->exact_path));
        json_object_set_new(object, "digests_only", json_boolean(endpoint->digests_only));
        line_put_strings(object, "authorities", endpoint->authorities, endpoint->authority_count);
        line_put_string(object, "certificate", endpoint->certificate);
        line_put_string(object, "key", endpoint->key);
        line_put_strings(object, "headers", endpoint->headers, endpoint->header_count);
        line_put_integer(object, "connect_timeout", endpoint->connect_timeout);

        json_t *credentials = json_object();
        json_object_set_new(object, "credentials", credentials);
        for (size_t i = 0; i < COUNT(CREDENTIALS); i++)
                line_put_string(credentials, CREDENTIALS[i].key,
                                *CONST_MEMBER(&endpoint->credentials, CREDENTIALS[i], char *));
        return object;
}

char *request_encode(const struct fetch_request *request)
{
        AUTO_JSON json_t *line = json_object();
        line_put_string(line, "reference", request->reference);
        line_put_string(line, "staging", request->staging);
        line_put_string(line, "os", request->os);
        line_put_string(line, "architecture", request->architecture);
        line_put_string(line, "variant", request->variant);
        line_put_string(line, "decryption_keys", request->decryption_keys);

        json_t *endpoints = json_array();
        json_object_set_new(line, "endpoints", endpoints);
        for (size_t i = 0; i < request->endpoint_count; i++)
                json_array_append_new(endpoints, endpoint_to_json(&request->endpoints[i]));

        line_put_strings(line, "present", request->present, request->present_count);
        json_object_set_new(line, "wants_signatures", json_boolean(request->wants_signatures));
        line_put_string(line, "lookaside", request->lookaside);
        json_object_set_new(line, "attachments", json_boolean(request->attachments));

        json_t *limits = json_object();
        json_object_set_new(line, "limits", limits);
        for (size_t i = 0; i < COUNT(LIMITS); i++)
                line_put_integer(limits, LIMITS[i].key,
                                 *CONST_MEMBER(&request->limits, LIMITS[i], int64_t));

        char *text = line_finish(line);
        wipe_parsed(line);
        return text;
}

static int decode_credentials(const json_t *value, struct arena *arena,
                              struct fetch_credentials *credentials, struct error *err)
{
        json_t *object = NULL;
        int r = json_get_object(value, "credentials", "endpoint", &object, err);

        for (size_t i = 0; r == 0 && object && i < COUNT(CREDENTIALS); i++)
                r = line_get_text(object, CREDENTIALS[i].key, "credentials", arena,
                                  MEMBER(credentials, CREDENTIALS[i], const char *), err);
        return r;
}

static int decode_endpoint(const json_t *value, struct arena *arena,
                           struct fetch_endpoint *endpoint, struct error *err)
{
        static const char place[] = "endpoint";
        int r;

        if ((r = line_need_text(value, "url", place, arena, &endpoint->url, err)) < 0 ||
            (r = line_get_text(value, "repository", place, arena, &endpoint->repository, err)) <
                    0 ||
            (r = line_get_text(value, "ns", place, arena, &endpoint->ns, err)) < 0 ||
            (r = json_get_bool(value, "insecure", place, &endpoint->insecure, err)) < 0 ||
            (r = json_get_bool(value, "exact_path", place, &endpoint->exact_path, err)) < 0 ||
            (r = json_get_bool(value, "digests_only", place, &endpoint->digests_only, err)) < 0 ||
            (r = line_get_strings(value, "authorities", place, REQUEST_FILES_MAX, arena,
                                  &endpoint->authorities, &endpoint->authority_count, err)) < 0 ||
            (r = line_get_text(value, "certificate", place, arena, &endpoint->certificate, err)) <
                    0 ||
            (r = line_get_text(value, "key", place, arena, &endpoint->key, err)) < 0 ||
            (r = line_get_strings(value, "headers", place, REQUEST_FILES_MAX, arena,
                                  &endpoint->headers, &endpoint->header_count, err)) < 0)
                return r;
        r = line_get_size(value, "connect_timeout", place, &endpoint->connect_timeout, err);
        if (r < 0)
                return r;
        return decode_credentials(value, arena, &endpoint->credentials, err);
}

static int decode_endpoints(const json_t *line, struct arena *arena, struct fetch_request *request,
                            struct error *err)
{
        json_t *array;
        size_t count;
        int r = line_get_list(line, "endpoints", "request", REQUEST_ENDPOINTS_MAX, &array, &count,
                              err);
        if (r < 0 || count == 0)
                return r;

        struct fetch_endpoint *endpoints = arena_array(arena, count, sizeof(*endpoints));
        request->endpoints = endpoints; /* already now: who gives up wipes what was decoded */
        request->endpoint_count = count;
        for (size_t i = 0; i < count; i++) {
                const json_t *value = json_array_get(array, i);
                if (!json_is_object(value))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "request: endpoints: expected objects");
                r = decode_endpoint(value, arena, &endpoints[i], err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int decode_members(const json_t *line, struct arena *arena, struct fetch_request *request,
                          struct error *err)
{
        int r;
        json_t *object = NULL;

        if ((r = line_need_text(line, "reference", "request", arena, &request->reference, err)) <
                    0 ||
            (r = line_need_text(line, "staging", "request", arena, &request->staging, err)) < 0 ||
            (r = line_get_text(line, "os", "request", arena, &request->os, err)) < 0 ||
            (r = line_get_text(line, "architecture", "request", arena, &request->architecture,
                               err)) < 0 ||
            (r = line_get_text(line, "variant", "request", arena, &request->variant, err)) < 0 ||
            (r = json_get_bool(line, "wants_signatures", "request", &request->wants_signatures,
                               err)) < 0 ||
            (r = line_get_text(line, "lookaside", "request", arena, &request->lookaside, err)) <
                    0 ||
            (r = json_get_bool(line, "attachments", "request", &request->attachments, err)) < 0 ||
            (r = line_get_text(line, "decryption_keys", "request", arena, &request->decryption_keys,
                               err)) < 0 ||
            (r = decode_endpoints(line, arena, request, err)) < 0)
                return r;

        r = line_get_strings(line, "present", "request", REQUEST_PRESENT_MAX, arena,
                             &request->present, &request->present_count, err);
        if (r < 0)
                return r;

        if ((r = json_get_object(line, "limits", "request", &object, err)) < 0)
                return r;
        for (size_t i = 0; object && i < COUNT(LIMITS); i++) {
                r = line_get_size(object, LIMITS[i].key, "limits",
                                  MEMBER(&request->limits, LIMITS[i], int64_t), err);
                if (r < 0)
                        return r;
        }
        return 0;
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
        for (size_t i = 0; i < request->endpoint_count; i++) {
                /* Decoded, they are in the request's own memory. */
                struct fetch_endpoint *endpoint =
                        (struct fetch_endpoint *)(uintptr_t)&request->endpoints[i];
                for (size_t j = 0; j < COUNT(CREDENTIALS); j++) {
                        char **text = MEMBER(&endpoint->credentials, CREDENTIALS[j], char *);
                        request_wipe_text(*text);
                        *text = NULL;
                }
        }
}
