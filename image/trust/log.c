#include "image/trust/log.h"

#include <stdbool.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "image/trust/key.h"

static const char PLACE[] = "transparency log";

struct promise {
        const char *body, *id; /* of characters that need no escapes in JSON */
        int64_t time, index;
};

static int wrong(struct error *err, const char *what)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s", PLACE, what);
}

static bool is_plain(const char *text)
{
        return text && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789+/=") == strlen(text);
}

static int read_promise(const json_t *payload, struct promise *promise, struct error *err)
{
        const json_t *time = json_object_get(payload, "integratedTime");
        const json_t *index = json_object_get(payload, "logIndex");

        promise->body = json_string_value(json_object_get(payload, "body"));
        promise->id = json_string_value(json_object_get(payload, "logID"));
        if (json_object_size(payload) != 4 || !is_plain(promise->body) || !is_plain(promise->id) ||
            !json_is_integer(time) || !json_is_integer(index))
                return wrong(err, "Payload: expected body, integratedTime, logIndex and logID");
        promise->time = json_integer_value(time);
        promise->index = json_integer_value(index);
        return 0;
}

/* What the log signed is the payload in canonical form (RFC 8785): members in order, no blanks. */
static bool is_signed(const struct promise *promise, const struct policy_keys *keys,
                      const struct buffer *signature, struct error *err)
{
        AUTO_FREE char *text = xprintf("{\"body\":\"%s\",\"integratedTime\":%lld,\"logID\":\"%s\","
                                       "\"logIndex\":%lld}",
                                       promise->body, (long long)promise->time, promise->id,
                                       (long long)promise->index);
        bool good = false;
        for (size_t i = 0; i < keys->count && !good; i++) {
                AUTO_KEY EVP_PKEY *key = NULL;
                if (key_read(&keys->list[i], &key, err) < 0)
                        return false;
                good = key_verifies(key, text, strlen(text), signature);
        }
        if (!good)
                wrong(err, "its promise is not signed by a key that the policy names");
        return good;
}

/* Adds the bytes of a base64 member. */
static bool get_bytes(const json_t *object, const char *key, struct buffer *bytes)
{
        const char *text = json_string_value(json_object_get(object, key));
        size_t count = 0;
        AUTO_FREE unsigned char *decoded = text ? base64_decode(text, strlen(text), &count) : NULL;
        if (decoded)
                buffer_add(bytes, decoded, count);
        return decoded != NULL;
}

static bool text_is(const json_t *object, const char *key, const char *expected)
{
        const char *text = json_string_value(json_object_get(object, key));
        return text && strcmp(text, expected) == 0;
}

/* The body: an entry of kind hashedrekord, version 0.0.1. */
static int check_entry(const json_t *body, const struct log_entry *entry, struct error *err)
{
        AUTO_BUFFER struct buffer signature = BUFFER_INIT, pem = BUFFER_INIT;
        const json_t *spec = json_object_get(body, "spec");
        const json_t *hash = json_object_get(json_object_get(spec, "data"), "hash");
        const json_t *signed_by = json_object_get(spec, "signature");
        char hex[SHA256_HEX + 1];

        if (!text_is(body, "kind", "hashedrekord") || !text_is(body, "apiVersion", "0.0.1"))
                return wrong(err, "its entry is not a hashedrekord of version 0.0.1");
        sha256_hex(entry->payload, entry->length, hex);
        if (!text_is(hash, "algorithm", "sha256") || !text_is(hash, "value", hex))
                return wrong(err, "its entry is about something else that was signed");
        if (!get_bytes(signed_by, "content", &signature) ||
            signature.length != entry->signature->length ||
            memcmp(signature.data, entry->signature->data, signature.length) != 0)
                return wrong(err, "its entry has another signature");
        if (!get_bytes(json_object_get(signed_by, "publicKey"), "content", &pem) ||
            !key_pem_is(&pem, entry->der, entry->der_length))
                return wrong(err, "its entry has another key or certificate");
        return 0;
}

int log_verify(const char *bundle, const struct policy_keys *keys, const struct log_entry *entry,
               int64_t *time, struct error *err)
{
        AUTO_JSON json_t *document = NULL, *body = NULL;
        AUTO_BUFFER struct buffer signature = BUFFER_INIT;
        size_t length = 0;
        struct promise promise = {0};
        int r;

        if ((r = json_parse(bundle, strlen(bundle), PLACE, &document, err)) < 0)
                return r;
        if (json_object_size(document) != 2 ||
            !get_bytes(document, "SignedEntryTimestamp", &signature))
                return wrong(err, "expected SignedEntryTimestamp and Payload");
        if ((r = read_promise(json_object_get(document, "Payload"), &promise, err)) < 0)
                return r;
        if (!is_signed(&promise, keys, &signature, err))
                return -EINVAL;
        AUTO_FREE unsigned char *text = base64_decode(promise.body, strlen(promise.body), &length);
        if (!text)
                return wrong(err, "body: not base64");
        r = json_parse((const char *)text, length, PLACE, &body, err);
        if (r == 0)
                r = check_entry(body, entry, err);
        if (r == 0)
                *time = promise.time;
        return r;
}
