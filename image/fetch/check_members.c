/* What the specification asks of a document's members. */
#include <ctype.h>
#include <string.h>

#include "image/fetch/check_private.h"
#include "image/fetch/media.h"
#include "image/reference.h"

#define SHOWN_MAX 100

static const char *text_of(const json_t *object, const char *key)
{
        return json_string_value(json_object_get(object, key));
}

/* RFC 6838: two names around a slash. */
static bool is_media_type(const char *text)
{
        const char *slash = strchr(text, '/');

        if (!slash || slash == text || !slash[1] || strlen(text) > 255)
                return false;
        for (const char *c = text; *c; c++)
                if (c != slash && !isalnum((unsigned char)*c) && !strchr("!#$&-^_.+", *c))
                        return false;
        return true;
}

bool check_media_type(struct check *check, const char *what, const char *media_type,
                      const char *expected, const char *docker)
{
        if (strcmp(media_type, expected) == 0)
                return true;
        if (strcmp(media_type, docker) == 0)
                CHECK_FAIL(check, what, "%s: valid Docker schema 2, not OCI (%s)", media_type,
                           expected);
        else
                CHECK_FAIL(check, what, "\"%.*s\" instead of %s", SHOWN_MAX, media_type, expected);
        return false;
}

void check_annotations(struct check *check, const json_t *object, const char *place)
{
        const json_t *annotations = json_object_get(object, "annotations");
        const char *key;
        json_t *value;

        if (annotations && !json_is_object(annotations)) {
                CHECK_FAIL(check, "annotations", "%s: expected an object", place);
                return;
        }
        json_object_foreach ((json_t *)(uintptr_t)annotations, key, value) {
                if (!key[0])
                        CHECK_FAIL(check, "annotations", "%s: a key is empty", place);
                if (!json_is_string(value))
                        CHECK_FAIL(check, "annotations", "%s: %.*s: expected a string", place,
                                   SHOWN_MAX, key);
        }
}

void check_read_descriptor(struct check *check, const json_t *object, const char *place,
                           struct check_descriptor *descriptor)
{
        const char *media_type = text_of(object, "mediaType"), *digest = text_of(object, "digest");
        const json_t *size = json_object_get(object, "size");

        *descriptor = (struct check_descriptor){media_type ? media_type : "", NULL, -1};
        if (!json_is_object(object)) {
                CHECK_FAIL(check, "descriptor", "%s: expected an object", place);
                return;
        }
        if (!media_type || !is_media_type(media_type))
                CHECK_FAIL(check, "descriptor", "%s: mediaType: %s", place,
                           media_type ? "it is no media type" : "it is missing");
        if (!json_is_integer(size) || json_integer_value(size) < 0)
                CHECK_FAIL(check, "descriptor", "%s: size: %s", place,
                           size ? "expected a number that is not negative" : "it is missing");
        else
                descriptor->size = json_integer_value(size);
        if (digest && digest_is_valid(digest))
                descriptor->digest = digest;
        else
                CHECK_FAIL(check, "descriptor", "%s: digest: %s", place,
                           digest ? "expected sha256 or sha512" : "it is missing");
        check_annotations(check, object, place);
}

/* ---- configurations ---- */

static void check_diff_ids(struct check *check, const json_t *rootfs, size_t layers)
{
        const char *type = text_of(rootfs, "type");
        const json_t *diff_ids = json_object_get(rootfs, "diff_ids");

        if (!type || strcmp(type, "layers") != 0)
                CHECK_FAIL(check, "rootfs", "type: \"%.*s\" instead of \"layers\"", SHOWN_MAX,
                           type ? type : "");
        if (!json_is_array(diff_ids)) {
                CHECK_FAIL(check, "rootfs", "diff_ids: expected an array");
                return;
        }
        for (size_t i = 0; i < json_array_size(diff_ids); i++) {
                const char *text = json_string_value(json_array_get(diff_ids, i));
                if (!text || !digest_is_valid(text))
                        CHECK_FAIL(check, "rootfs", "diff_ids: %zu is not a digest", i + 1);
        }
        if (json_array_size(diff_ids) != layers)
                CHECK_FAIL(check, "rootfs", "diff_ids: there are %zu, the manifest has %zu layers",
                           json_array_size(diff_ids), layers);
        else
                CHECK_PASS(check, "rootfs", "%zu diff IDs, one for each layer", layers);
}

static void check_history(struct check *check, const json_t *config, size_t layers)
{
        const json_t *history = json_object_get(config, "history");
        size_t filled = 0;

        if (!history)
                return;
        for (size_t i = 0; i < json_array_size(history); i++)
                filled += !json_is_true(json_object_get(json_array_get(history, i), "empty_layer"));
        if (!json_is_array(history))
                CHECK_FAIL(check, "history", "expected an array");
        else if (filled != layers)
                CHECK_WARN(check, "history", "%zu of its entries have layers, there are %zu layers",
                           filled, layers);
}

void check_config(struct check *check, const json_t *config, size_t layers)
{
        static const char *const NEEDED[] = {"architecture", "os"};
        const json_t *rootfs = json_object_get(config, "rootfs");
        bool whole = true;

        for (size_t i = 0; i < sizeof(NEEDED) / sizeof(NEEDED[0]); i++) {
                const char *text = text_of(config, NEEDED[i]);
                if (text && text[0])
                        continue;
                whole = false;
                CHECK_FAIL(check, "platform", "%s: it is missing", NEEDED[i]);
        }
        if (whole)
                CHECK_PASS(check, "platform", "%.50s/%.50s", text_of(config, "os"),
                           text_of(config, "architecture"));
        if (json_is_object(rootfs))
                check_diff_ids(check, rootfs, layers);
        else
                CHECK_FAIL(check, "rootfs", "it is missing");
        check_history(check, config, layers);
}
