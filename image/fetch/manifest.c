#include "image/fetch/manifest.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "image/fetch/limits.h"
#include "image/reference.h"

#define OCI_INDEX       "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST    "application/vnd.oci.image.manifest.v1+json"
#define DOCKER_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_SCHEMA_1 "application/vnd.docker.distribution.manifest.v1+"
#define LISTED_MAX      512 /* bytes of platforms in an error */
#define SHOWN_MAX       100

/* ---- members ---- */

static int get_text(const json_t *object, const char *key, const char *place, struct arena *arena,
                    const char **text, struct error *err)
{
        const char *value = "";
        int r = json_get_string(object, key, place, &value, err);
        if (r == 0)
                *text = arena_strdup(arena, value);
        return r;
}

static int read_platform(const json_t *object, const char *place, struct arena *arena,
                         struct platform *platform, struct error *err)
{
        int r = get_text(object, "os", place, arena, &platform->os, err);
        if (r == 0)
                r = get_text(object, "architecture", place, arena, &platform->architecture, err);
        if (r == 0)
                r = get_text(object, "variant", place, arena, &platform->variant, err);
        return r;
}

static int read_annotations(const json_t *object, const char *place, struct arena *arena,
                            struct descriptor *descriptor, struct error *err)
{
        json_t *members = NULL;
        int r = json_get_object(object, "annotations", place, &members, err);
        if (r < 0)
                return r;
        if (json_object_size(members) > FETCH_ANNOTATIONS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %d annotations", place,
                                 FETCH_ANNOTATIONS_MAX);

        struct annotation *list = arena_array(arena, json_object_size(members) + 1, sizeof(*list));
        size_t count = 0;
        const char *name;
        json_t *value;
        json_object_foreach (members, name, value) {
                if (!json_is_string(value))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: annotations: expected strings", place);
                list[count++] = (struct annotation){arena_strdup(arena, name),
                                                    arena_strdup(arena, json_string_value(value))};
        }
        descriptor->annotations = list;
        descriptor->annotation_count = count;
        return 0;
}

static int read_urls(const json_t *object, const char *place, struct arena *arena,
                     struct descriptor *descriptor, struct error *err)
{
        json_t *array = NULL;
        int r = json_get_array(object, "urls", place, &array, err);
        if (r < 0)
                return r;
        size_t count = json_array_size(array);
        if (count > FETCH_URLS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %d urls", place,
                                 FETCH_URLS_MAX);

        const char **urls = arena_array(arena, count + 1, sizeof(*urls));
        for (size_t i = 0; i < count; i++) {
                const char *url = json_string_value(json_array_get(array, i));
                if (!url || strlen(url) > FETCH_URL_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: urls: expected strings of at most %d bytes", place,
                                         FETCH_URL_MAX);
                urls[i] = arena_strdup(arena, url);
        }
        descriptor->urls = urls;
        descriptor->url_count = count;
        return 0;
}

const char *descriptor_annotation(const struct descriptor *descriptor, const char *name)
{
        for (size_t i = 0; i < descriptor->annotation_count; i++)
                if (strcmp(descriptor->annotations[i].name, name) == 0)
                        return descriptor->annotations[i].value;
        return NULL;
}

static int read_descriptor(const json_t *object, const char *place, struct arena *arena,
                           struct descriptor *descriptor, struct error *err)
{
        json_t *platform = NULL;
        int64_t size = -1;
        int r;

        if (!json_is_object(object))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an object", place);
        if ((r = get_text(object, "mediaType", place, arena, &descriptor->media_type, err)) < 0 ||
            (r = get_text(object, "digest", place, arena, &descriptor->digest, err)) < 0 ||
            (r = json_get_int(object, "size", place, &size, err)) < 0 ||
            (r = json_get_object(object, "platform", place, &platform, err)) < 0 ||
            (r = read_urls(object, place, arena, descriptor, err)) < 0 ||
            (r = read_annotations(object, place, arena, descriptor, err)) < 0)
                return r;
        if (!digest_is_valid(descriptor->digest))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: digest: expected sha256 or sha512", place);
        if (size < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: size is missing or negative",
                                 place);
        descriptor->size = size;
        descriptor->platform = (struct platform){"", "", ""};
        if (platform)
                return read_platform(platform, place, arena, &descriptor->platform, err);
        return 0;
}

static int read_entries(const json_t *document, const char *key, size_t max, struct arena *arena,
                        struct manifest *manifest, struct error *err)
{
        json_t *array = NULL;
        int r = json_get_array(document, key, "manifest", &array, err);
        if (r < 0)
                return r;
        size_t count = json_array_size(array);
        if (count > max)
                return error_set(err, ERROR_INVALID_ARGUMENT, "manifest: more than %zu %s", max,
                                 key);

        struct descriptor *entries = arena_array(arena, count + 1, sizeof(*entries));
        for (size_t i = 0; i < count; i++) {
                r = read_descriptor(json_array_get(array, i), key, arena, &entries[i], err);
                if (r < 0)
                        return error_context(err, "manifest: entry %zu", i);
        }
        manifest->entries = entries;
        manifest->count = count;
        return 0;
}

/* ---- manifests ---- */

static int read_image(const json_t *document, const char *media_type, struct arena *arena,
                      struct manifest *manifest, struct error *err)
{
        int r = read_descriptor(json_object_get(document, "config"), "manifest: config", arena,
                                &manifest->config, err);
        if (r < 0)
                return r;
        manifest->media_type = media_type[0] ? media_type : OCI_MANIFEST;
        return read_entries(document, "layers", FETCH_LAYERS_MAX, arena, manifest, err);
}

static int read_index(const json_t *document, const char *media_type, struct arena *arena,
                      struct manifest *manifest, struct error *err)
{
        manifest->is_index = true;
        manifest->media_type = media_type[0] ? media_type : OCI_INDEX;
        return read_entries(document, "manifests", FETCH_INDEX_ENTRIES_MAX, arena, manifest, err);
}

static bool is_schema_1(const json_t *document, const char *media_type)
{
        return strncmp(media_type, DOCKER_SCHEMA_1, strlen(DOCKER_SCHEMA_1)) == 0 ||
               json_integer_value(json_object_get(document, "schemaVersion")) == 1 ||
               json_object_get(document, "fsLayers");
}

static int read_document(const json_t *document, const char *content_type, struct arena *arena,
                         struct manifest *manifest, struct error *err)
{
        const char *media_type = "";

        if (!json_is_object(document))
                return error_set(err, ERROR_INVALID_ARGUMENT, "manifest: expected an object");
        int r = get_text(document, "mediaType", "manifest", arena, &media_type, err);
        if (r < 0)
                return r;
        if (!media_type[0])
                media_type = arena_strdup(arena, content_type);
        if (is_schema_1(document, media_type))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "this is a Docker schema 1 manifest, a format that is no longer "
                                 "supported: push the image again with a current tool, for "
                                 "example skopeo copy --format v2s2");

        /* One that reads as both could be checked as the one and run as the other. */
        bool index = json_object_get(document, "manifests") != NULL;
        bool image = json_object_get(document, "layers") || json_object_get(document, "config");
        if (index && image)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "manifest: an index and an image manifest at once");
        bool says_index =
                strcmp(media_type, OCI_INDEX) == 0 || strcmp(media_type, DOCKER_LIST) == 0;
        bool says_image =
                strcmp(media_type, OCI_MANIFEST) == 0 || strcmp(media_type, DOCKER_MANIFEST) == 0;
        if ((says_index && image) || (says_image && index))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "manifest: it is not the %s that it says it is", media_type);
        /* Servers that do not know say text/plain or application/json. */
        if (!says_index && !says_image)
                media_type = "";
        if (index || says_index)
                return read_index(document, media_type, arena, manifest, err);
        if (image || says_image)
                return read_image(document, media_type, arena, manifest, err);
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "manifest: neither an image manifest nor an index");
}

int manifest_parse(const char *bytes, size_t length, const char *content_type, struct arena *arena,
                   struct manifest *manifest, struct error *err)
{
        AUTO_JSON json_t *document = NULL;
        struct manifest parsed = {0};

        int r = json_parse(bytes, length, "manifest", &document, err);
        if (r == 0)
                r = read_document(document, content_type, arena, &parsed, err);
        if (r == 0)
                *manifest = parsed;
        return r;
}

/* ---- choosing ---- */

static void list_platforms(const struct manifest *index, char *out, size_t size)
{
        size_t length = 0;

        out[0] = '\0';
        for (size_t i = 0; i < index->count && length < size; i++) {
                const struct platform *platform = &index->entries[i].platform;
                if (!platform->os[0] || strcmp(platform->os, "unknown") == 0)
                        continue;
                length += (size_t)snprintf(
                        out + length, size - length, "%s%.*s/%.*s%s%.*s", length > 0 ? ", " : "",
                        SHOWN_MAX, platform->os, SHOWN_MAX, platform->architecture,
                        platform->variant[0] ? "/" : "", SHOWN_MAX, platform->variant);
        }
}

int manifest_select(const struct manifest *index, const struct platform *platform,
                    const struct descriptor **entry, struct error *err)
{
        size_t best = index->count;
        int best_fitness = 0;

        for (size_t i = 0; i < index->count; i++) {
                int fit = platform_fitness(platform, &index->entries[i].platform);
                /* Where two fit equally the first is meant. */
                if (fit > best_fitness) {
                        best = i;
                        best_fitness = fit;
                }
        }
        if (best == index->count) {
                char there[LISTED_MAX];
                list_platforms(index, there, sizeof(there));
                return error_set(err, ERROR_NOT_FOUND, "no image for %s/%s%s%s; there are: %s",
                                 platform->os, platform->architecture,
                                 platform->variant[0] ? "/" : "", platform->variant,
                                 there[0] ? there : "none");
        }
        *entry = &index->entries[best];
        return 0;
}

/* ---- configuration ---- */

static int read_diff_ids(const json_t *rootfs, struct arena *arena, struct manifest_config *config,
                         struct error *err)
{
        json_t *array = NULL;
        int r = json_get_array(rootfs, "diff_ids", "image configuration: rootfs", &array, err);
        if (r < 0)
                return r;
        size_t count = json_array_size(array);
        if (count > FETCH_LAYERS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "image configuration: more than %d layers", FETCH_LAYERS_MAX);

        const char **diff_ids = arena_array(arena, count + 1, sizeof(*diff_ids));
        for (size_t i = 0; i < count; i++) {
                const char *text = json_string_value(json_array_get(array, i));
                if (!digest_is_valid(text))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "image configuration: diff_ids: expected digests");
                diff_ids[i] = arena_strdup(arena, text);
        }
        config->diff_ids = diff_ids;
        config->count = count;
        return 0;
}

int manifest_config_parse(const char *bytes, size_t length, struct arena *arena,
                          struct manifest_config *config, struct error *err)
{
        static const char place[] = "image configuration";
        AUTO_JSON json_t *document = NULL;
        struct manifest_config parsed = {0};
        json_t *rootfs = NULL;

        int r = json_parse(bytes, length, place, &document, err);
        if (r < 0)
                return r;
        if (!json_is_object(document))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: expected an object", place);
        if ((r = json_get_object(document, "rootfs", place, &rootfs, err)) < 0)
                return r;
        if (!rootfs)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: without rootfs: an artifact rather than a container image",
                                 place);
        if ((r = read_platform(document, place, arena, &parsed.platform, err)) < 0 ||
            (r = read_diff_ids(rootfs, arena, &parsed, err)) < 0)
                return r;
        *config = parsed;
        return 0;
}
