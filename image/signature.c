#include "image/signature.h"

#include <stddef.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "image/line.h"

static const char PLACE[] = "signatures";

static const struct member {
        const char *key;
        size_t offset;
} MEMBERS[] = {
        {"source", offsetof(struct signature, source)},
        {"signature", offsetof(struct signature, base64)},
        {"certificate", offsetof(struct signature, certificate)},
        {"chain", offsetof(struct signature, chain)},
        {"bundle", offsetof(struct signature, bundle)},
};
#define MEMBER_COUNT (sizeof(MEMBERS) / sizeof(MEMBERS[0]))

static const char *member_of(const struct signature *signature, size_t index)
{
        return *(const char *const *)(const void *)((const char *)signature +
                                                    MEMBERS[index].offset);
}

static size_t size_of(const struct signature *signature)
{
        size_t size = signature->length;
        for (size_t i = 0; i < MEMBER_COUNT; i++)
                size += member_of(signature, i) ? strlen(member_of(signature, i)) : 0;
        return size;
}

json_t *signatures_to_json(const struct signatures *signatures)
{
        json_t *array = json_array();
        for (size_t i = 0; i < signatures->count; i++) {
                const struct signature *signature = &signatures->list[i];
                AUTO_FREE char *bytes = base64_encode(signature->bytes, signature->length);
                json_t *object = json_object();
                line_put_string(object, "kind",
                                signature->kind == SIGNATURE_SIMPLE ? "simple" : "sigstore");
                line_put_string(object, "bytes", bytes);
                for (size_t k = 0; k < MEMBER_COUNT; k++)
                        line_put_string(object, MEMBERS[k].key, member_of(signature, k));
                json_array_append_new(array, object);
        }
        return array;
}

static int decode(const json_t *object, struct arena *arena, struct signature *signature,
                  struct error *err)
{
        size_t length = 0;
        const char *kind = "", *text = "";
        int r;

        if (!json_is_object(object))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected objects", PLACE);
        if ((r = json_get_string(object, "kind", PLACE, &kind, err)) < 0 ||
            (r = json_get_string(object, "bytes", PLACE, &text, err)) < 0)
                return r;
        if (strcmp(kind, "simple") == 0)
                signature->kind = SIGNATURE_SIMPLE;
        else if (strcmp(kind, "sigstore") == 0)
                signature->kind = SIGNATURE_SIGSTORE;
        else
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: of no known kind", PLACE);
        AUTO_FREE unsigned char *bytes = strlen(text) > 2 * SIGNATURE_BYTES_MAX
                                                 ? NULL
                                                 : base64_decode(text, strlen(text), &length);
        if (!bytes)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: bytes: not base64 of %u bytes",
                                 PLACE, SIGNATURE_BYTES_MAX);
        signature->bytes = arena_memdup(arena, bytes, length + 1);
        signature->length = length;
        for (size_t i = 0; i < MEMBER_COUNT; i++) {
                const char **to = (const char **)(void *)((char *)signature + MEMBERS[i].offset);
                r = line_get_text(object, MEMBERS[i].key, PLACE, arena, to, err);
                if (r < 0)
                        return r;
                if (*to && strlen(*to) > SIGNATURE_BYTES_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: more than %u bytes",
                                         PLACE, MEMBERS[i].key, SIGNATURE_BYTES_MAX);
        }
        if (!signature->source)
                signature->source = "somewhere";
        return 0;
}

int signatures_from_json(const json_t *array, struct arena *arena, struct signatures *signatures,
                         struct error *err)
{
        size_t count = json_array_size(array), size = 0;
        if (array && !json_is_null(array) && !json_is_array(array))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an array", PLACE);
        if (count > SIGNATURES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %d", PLACE,
                                 SIGNATURES_MAX);
        struct signature *list = arena_array(arena, count + 1, sizeof(*list));
        for (size_t i = 0; i < count; i++) {
                int r = decode(json_array_get(array, i), arena, &list[i], err);
                if (r < 0)
                        return r;
                size += size_of(&list[i]);
        }
        if (size > SIGNATURES_BYTES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %u bytes", PLACE,
                                 SIGNATURES_BYTES_MAX);
        *signatures = (struct signatures){list, count};
        return 0;
}

/* Where they were found does not count. */
static bool same(const struct signature *a, const struct signature *b)
{
        if (a->kind != b->kind || a->length != b->length ||
            memcmp(a->bytes, b->bytes, a->length) != 0)
                return false;
        for (size_t i = 1; i < MEMBER_COUNT; i++) {
                const char *one = member_of(a, i), *other = member_of(b, i);
                if (strcmp(one ? one : "", other ? other : "") != 0)
                        return false;
        }
        return true;
}

static void add(struct signature *list, size_t *count, size_t *size,
                const struct signatures *signatures)
{
        for (size_t i = 0; i < signatures->count && *count < SIGNATURES_MAX; i++) {
                const struct signature *signature = &signatures->list[i];
                bool known = false;
                for (size_t k = 0; k < *count && !known; k++)
                        known = same(&list[k], signature);
                if (known || *size + size_of(signature) > SIGNATURES_BYTES_MAX)
                        continue;
                *size += size_of(signature);
                list[(*count)++] = *signature;
        }
}

void signatures_merge(const struct signatures *first, const struct signatures *second,
                      struct arena *arena, struct signatures *merged)
{
        struct signature *list = arena_array(arena, SIGNATURES_MAX, sizeof(*list));
        size_t count = 0, size = 0;
        add(list, &count, &size, first);
        add(list, &count, &size, second);
        *merged = (struct signatures){list, count};
}
