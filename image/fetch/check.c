#include "image/fetch/check.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "image/fetch/check_private.h"
#include "image/fetch/digest.h"
#include "image/fetch/limits.h"
#include "image/fetch/media.h"
#include "image/fetch/stage.h"
#include "image/reference.h"

#define SHOWN_MAX 100
#define SPOOL_MAX (4 * FETCH_UNPACKED_BYTES)
#define DOCS_MAX  1024 /* documents looked at */

/* ---- documents ---- */

static int get_bytes(struct check *check, const char *kind, const struct check_descriptor *wanted,
                     struct buffer *bytes, struct error *err)
{
        char content_type[128];
        const char *digest = wanted->digest;

        if (!check->index)
                return registry_get(check->registry, check->client, kind, digest,
                                    strcmp(kind, "manifests") == 0 ? MANIFEST_ACCEPT : NULL,
                                    FETCH_DOCUMENT_MAX, bytes, content_type, err);
        AUTO_FREE char *name = xprintf("blobs/%.*s/%s", (int)strcspn(digest, ":"), digest,
                                       strchr(digest, ':') + 1);
        return archive_get(check->index, name, FETCH_DOCUMENT_MAX, bytes, err);
}

bool check_get(struct check *check, const char *kind, const struct check_descriptor *descriptor,
               struct buffer *bytes)
{
        struct error err = {0};

        if (!descriptor->digest)
                return false; /* which was told */
        if (get_bytes(check, kind, descriptor, bytes, &err) < 0) {
                CHECK_FAIL(check, "blob", "%s", err.message);
                return false;
        }
        if (descriptor->size >= 0 && (int64_t)bytes->length != descriptor->size)
                CHECK_FAIL(check, "size", "it has %zu bytes, its descriptor says %lld",
                           bytes->length, (long long)descriptor->size);
        if (digest_check_bytes(bytes->data ? bytes->data : "", bytes->length, descriptor->digest,
                               &err) < 0)
                CHECK_FAIL(check, "digest", "%s", err.message);
        else
                CHECK_PASS(check, "digest", "%zu bytes", bytes->length);
        return true;
}

/* Parses a document that must be an object; null where it is none, which is told. */
static json_t *parse(struct check *check, const struct buffer *bytes)
{
        struct error err = {0};
        AUTO_JSON json_t *value = NULL;

        if (json_parse(bytes->data ? bytes->data : "", bytes->length, "JSON", &value, &err) < 0)
                CHECK_FAIL(check, "JSON", "%s", err.message);
        else if (!json_is_object(value))
                CHECK_FAIL(check, "JSON", "expected an object");
        else
                return take_ptr(value);
        return NULL;
}

static void check_version(struct check *check, const json_t *document)
{
        const json_t *version = json_object_get(document, "schemaVersion");
        if (json_is_integer(version) && json_integer_value(version) == 2)
                CHECK_PASS(check, "schemaVersion", "2");
        else
                CHECK_FAIL(check, "schemaVersion", "%s", version ? "it is not 2" : "it is missing");
}

/* The document's own word, which it may leave out. */
static void check_own_type(struct check *check, const json_t *document, const char *expected,
                           const char *docker)
{
        const json_t *type = json_object_get(document, "mediaType");

        if (!type)
                CHECK_WARN(check, "mediaType", "it is missing, and should be %s", expected);
        else if (!json_is_string(type))
                CHECK_FAIL(check, "mediaType", "expected a string");
        else if (check_media_type(check, "mediaType", json_string_value(type), expected, docker))
                CHECK_PASS(check, "mediaType", "%s", expected);
}

/* ---- manifests ---- */

static bool is_layer_type(const char *type)
{
        static const char *const ENDS[] = {"", "+gzip", "+zstd"};
        static const char *const STARTS[] = {MEDIA_OCI_LAYER, MEDIA_OCI_FOREIGN};

        for (size_t i = 0; i < sizeof(STARTS) / sizeof(STARTS[0]); i++)
                for (size_t j = 0; j < sizeof(ENDS) / sizeof(ENDS[0]); j++) {
                        size_t length = strlen(STARTS[i]);
                        if (strncmp(type, STARTS[i], length) == 0 &&
                            strcmp(type + length, ENDS[j]) == 0)
                                return true;
                }
        return false;
}

static void check_layer_type(struct check *check, const char *type)
{
        if (is_layer_type(type))
                CHECK_PASS(check, "mediaType", "%s", type);
        else if (strncmp(type, MEDIA_DOCKER_LAYER, strlen(MEDIA_DOCKER_LAYER)) == 0 ||
                 strncmp(type, MEDIA_DOCKER_FOREIGN, strlen(MEDIA_DOCKER_FOREIGN)) == 0)
                CHECK_FAIL(check, "mediaType", "%.*s: valid Docker schema 2, not OCI", SHOWN_MAX,
                           type);
        else
                CHECK_FAIL(check, "mediaType", "\"%.*s\" is not a layer's", SHOWN_MAX, type);
}

static void check_layers(struct check *check, const json_t *layers, const json_t *config)
{
        const json_t *diff_ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");

        for (size_t i = 0; i < json_array_size(layers) && i < FETCH_LAYERS_MAX; i++) {
                struct check_descriptor layer;
                const char *diff_id = json_string_value(json_array_get(diff_ids, i));
                report_object(check->report, "layer %zu of %zu", i + 1, json_array_size(layers));
                check_read_descriptor(check, json_array_get(layers, i), "layer", &layer);
                check_layer_type(check, layer.media_type);
                if (strstr(layer.media_type, "+encrypted"))
                        CHECK_WARN(check, "tar", "it is encrypted: not looked into");
                else if (layer.digest)
                        check_layer(check, &layer,
                                    diff_id && digest_is_valid(diff_id) ? diff_id : NULL);
        }
}

static void check_manifest_config(struct check *check, const json_t *manifest, const json_t *layers)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        AUTO_JSON json_t *config = NULL;
        struct check_descriptor descriptor;
        bool docker = false;

        report_object(check->report, "configuration");
        check_read_descriptor(check, json_object_get(manifest, "config"), "config", &descriptor);
        bool oci = strcmp(descriptor.media_type, MEDIA_OCI_CONFIG) == 0;
        docker = strcmp(descriptor.media_type, MEDIA_DOCKER_CONFIG) == 0;
        if (oci)
                CHECK_PASS(check, "mediaType", "%s", MEDIA_OCI_CONFIG);
        else if (docker)
                CHECK_FAIL(check, "mediaType", "%s: valid Docker schema 2, not OCI",
                           MEDIA_DOCKER_CONFIG);
        if (check_get(check, "blobs", &descriptor, &bytes) && (oci || docker))
                config = parse(check, &bytes);
        if (config)
                check_config(check, config, json_array_size(layers));
        if (oci || docker) {
                check_layers(check, layers, config);
                return;
        }
        /* What is no container's image says what it is. */
        const json_t *artifact = json_object_get(manifest, "artifactType");
        if (strcmp(descriptor.media_type, MEDIA_OCI_EMPTY) == 0 && !json_is_string(artifact))
                CHECK_FAIL(check, "artifactType", "it is missing, and the configuration is empty");
        else
                CHECK_WARN(check, "mediaType",
                           "%.*s: an artifact rather than a container image: its layers are not "
                           "looked into",
                           SHOWN_MAX, descriptor.media_type);
}

static void check_manifest(struct check *check, const json_t *manifest)
{
        const json_t *layers = json_object_get(manifest, "layers");

        check_version(check, manifest);
        check_own_type(check, manifest, MEDIA_OCI_MANIFEST, MEDIA_DOCKER_MANIFEST);
        check_annotations(check, manifest, "manifest");
        if (!json_is_array(layers))
                CHECK_FAIL(check, "layers", "expected an array");
        else if (json_array_size(layers) == 0)
                CHECK_WARN(check, "layers", "there are none");
        if (json_array_size(layers) > FETCH_LAYERS_MAX)
                CHECK_FAIL(check, "layers", "more than %d: the others are not looked at",
                           FETCH_LAYERS_MAX);
        check_manifest_config(check, manifest, layers);
}

/* ---- indexes ---- */

static void check_document(struct check *check, const char *object,
                           const struct check_descriptor *descriptor, const struct buffer *bytes,
                           unsigned depth);

static void check_platform(struct check *check, const json_t *entry, const char *place)
{
        const json_t *platform = json_object_get(entry, "platform");

        if (!platform)
                return;
        if (!json_is_string(json_object_get(platform, "architecture")) ||
            !json_is_string(json_object_get(platform, "os")))
                CHECK_FAIL(check, "platform", "%s: architecture and os are both needed", place);
}

/* A registry's image for other machines is not fetched to be looked at. */
static bool is_wanted(struct check *check, const json_t *entry)
{
        const json_t *platform = json_object_get(entry, "platform");
        const char *architecture = json_string_value(json_object_get(platform, "architecture"));
        struct platform ours = platform_complete(NULL, NULL, NULL);

        return check->index || !architecture || strcmp(architecture, ours.architecture) == 0;
}

static void check_index_entry(struct check *check, const json_t *entry, const char *object,
                              size_t number, unsigned depth)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        struct check_descriptor descriptor;
        char place[64], name[160];

        snprintf(place, sizeof(place), "manifests: %zu", number);
        report_object(check->report, "%s", object);
        check->report->objects--; /* it was counted */
        check_read_descriptor(check, entry, place, &descriptor);
        check_platform(check, entry, place);
        if (!descriptor.digest || !is_wanted(check, entry))
                return;
        snprintf(name, sizeof(name), "manifest %.140s", descriptor.digest);
        report_object(check->report, "%s", name);
        if (check_get(check, "manifests", &descriptor, &bytes))
                check_document(check, name, &descriptor, &bytes, depth + 1);
}

static void check_index(struct check *check, const char *object, const json_t *index,
                        unsigned depth)
{
        const json_t *manifests = json_object_get(index, "manifests");

        check_version(check, index);
        check_own_type(check, index, MEDIA_OCI_INDEX, MEDIA_DOCKER_LIST);
        check_annotations(check, index, "index");
        if (!json_is_array(manifests)) {
                CHECK_FAIL(check, "manifests", "expected an array");
                return;
        }
        if (json_array_size(manifests) == 0)
                CHECK_WARN(check, "manifests", "there are none");
        for (size_t i = 0; i < json_array_size(manifests); i++) {
                if (i >= FETCH_INDEX_ENTRIES_MAX || check->report->objects > DOCS_MAX) {
                        CHECK_FAIL(check, "manifests", "too many: the others are not looked at");
                        return;
                }
                check_index_entry(check, json_array_get(manifests, i), object, i + 1, depth);
        }
}

static void check_document(struct check *check, const char *object,
                           const struct check_descriptor *descriptor, const struct buffer *bytes,
                           unsigned depth)
{
        AUTO_JSON json_t *document = parse(check, bytes);
        const char *own = json_string_value(json_object_get(document, "mediaType"));

        if (!document)
                return;
        if (own && descriptor->media_type[0] && strcmp(own, descriptor->media_type) != 0)
                CHECK_FAIL(check, "mediaType", "it says \"%.*s\", its descriptor %.*s", SHOWN_MAX,
                           own, SHOWN_MAX, descriptor->media_type);
        bool index = json_object_get(document, "manifests") != NULL;
        bool image = json_object_get(document, "layers") || json_object_get(document, "config");
        if (index && image)
                CHECK_FAIL(check, "mediaType", "an index and an image manifest at once");
        else if (index && depth > FETCH_INDEX_DEPTH_MAX)
                CHECK_FAIL(check, "manifests", "more than %d indexes inside each other",
                           FETCH_INDEX_DEPTH_MAX);
        else if (index)
                check_index(check, object, document, depth);
        else if (image)
                check_manifest(check, document);
        else
                CHECK_FAIL(check, "mediaType", "neither an image manifest nor an index");
}

/* ---- layouts ---- */

static json_t *get_file(struct check *check, const char *name)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        struct error err = {0};

        report_object(check->report, "%s", name);
        if (archive_get(check->index, name, FETCH_DOCUMENT_MAX, &bytes, &err) == 0)
                return parse(check, &bytes);
        CHECK_FAIL(check, "file", "%s", err.message);
        return NULL;
}

static void check_layout(struct check *check)
{
        AUTO_JSON json_t *layout = NULL;
        AUTO_JSON json_t *index = NULL;

        if (!archive_has(check->index, "index.json") &&
            archive_has(check->index, "manifest.json")) {
                report_object(check->report, "archive");
                CHECK_FAIL(check, "format",
                           "a docker-archive (manifest.json), not an OCI layout: oci-layout and "
                           "index.json are missing");
                return;
        }
        layout = get_file(check, "oci-layout");
        const char *version = json_string_value(json_object_get(layout, "imageLayoutVersion"));
        if (version && strcmp(version, "1.0.0") == 0)
                CHECK_PASS(check, "imageLayoutVersion", "1.0.0");
        else if (layout)
                CHECK_FAIL(check, "imageLayoutVersion", "\"%.*s\" instead of \"1.0.0\"", SHOWN_MAX,
                           version ? version : "");
        index = get_file(check, "index.json");
        if (index)
                check_index(check, "index.json", index, 0);
}

/* ---- registries ---- */

static int check_remote(struct check *check, const struct loaded *loaded, struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        struct check_descriptor root = {"", NULL, -1};
        struct reference reference;
        char content_type[128] = "", digest[REFERENCE_DIGEST_MAX + 1];

        int r = reference_parse(check->request->fetch.reference, &reference, err);
        if (r < 0)
                return r;
        stop_init(&check->stop);
        check->registry = registry_new(loaded->endpoints, &check->limits, &check->stop);
        r = http_client_new(&check->stop, check->limits.connect_timeout,
                            check->limits.stall_timeout, &check->client, err);
        const char *name = reference.digest[0] ? reference.digest : reference.tag;
        if (r == 0)
                r = registry_get(check->registry, check->client, "manifests", name, MANIFEST_ACCEPT,
                                 FETCH_DOCUMENT_MAX, &bytes, content_type, err);
        if (r < 0)
                return r;
        AUTO_DIGEST struct digest *sum = digest_new(reference.digest[0] ? reference.digest : NULL);
        digest_add(sum, bytes.data ? bytes.data : "", bytes.length);
        digest_finish(sum, digest);
        char object[160];
        snprintf(object, sizeof(object), "manifest %.140s", digest);
        report_object(check->report, "%s", object);
        if (reference.digest[0] && strcmp(digest, reference.digest) != 0)
                CHECK_FAIL(check, "digest", "it was asked for as %s", reference.digest);
        else
                CHECK_PASS(check, "digest", "%zu bytes", bytes.length);
        root.media_type = strncmp(content_type, "application/vnd.", 16) == 0 ? content_type : "";
        check_document(check, object, &root, &bytes, 0);
        return 0;
}

/* ---- the whole ---- */

static void check_fini(struct check *check)
{
        archive_index_free(check->index);
        http_client_free(check->client);
        registry_free(check->registry);
}

static int open_index(struct check *check, int fd, struct error *err)
{
        AUTO_FD int staging = open(check->request->fetch.staging,
                                   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (staging < 0)
                return error_errno(err, errno, "staging folder");
        return archive_index_new(fd, staging, SPOOL_MAX, &check->index, err);
}

int check_run(const struct offline_request *request, const struct loaded *loaded, int fd,
              struct report *report, struct arena *arena, struct error *err)
{
        CLEANUP(check_fini)
        struct check check = {
                .request = request,
                .report = report,
                .arena = arena,
                .limits = request->fetch.limits,
        };
        int r;

        stage_complete_limits(&check.limits);
        if (request->remote) {
                r = check_remote(&check, loaded, err);
        } else {
                r = open_index(&check, fd, err);
                if (r == 0)
                        check_layout(&check);
        }
        if (r == 0)
                report_done(report);
        return r;
}
