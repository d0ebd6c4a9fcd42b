/* OCI layout: index.json leads to blobs by their digests. */
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "image/fetch/import_private.h"
#include "image/fetch/limits.h"
#include "image/fetch/media.h"
#include "image/reference.h"

static char *blob_name(const char *digest)
{
        return xprintf("blobs/%.*s/%s", (int)strcspn(digest, ":"), digest, strchr(digest, ':') + 1);
}

/* Reads a blob of known digest and size. */
static int get_blob(struct import *import, const struct descriptor *descriptor,
                    struct buffer *bytes, struct error *err)
{
        AUTO_FREE char *name = blob_name(descriptor->digest);
        int r = archive_get(import->index, name, FETCH_DOCUMENT_MAX, bytes, err);
        if (r < 0)
                return r;
        if ((int64_t)bytes->length != descriptor->size)
                return error_set(err, ERROR_DATA_LOSS, "%s: it has %zu bytes instead of %lld", name,
                                 bytes->length, (long long)descriptor->size);
        r = digest_check_bytes(bytes->data ? bytes->data : "", bytes->length, descriptor->digest,
                               err);
        return r < 0 ? error_context(err, "%s", name) : 0;
}

/* Follows indexes down to the image for the platform. */
static int find_manifest(struct import *import, const struct descriptor *entry,
                         struct import_image *image, struct manifest *manifest, struct error *err)
{
        const struct fetch_request *request = &import->request->fetch;
        struct platform platform =
                platform_complete(request->os, request->architecture, request->variant);

        for (int depth = 0; depth <= FETCH_INDEX_DEPTH_MAX; depth++) {
                image->manifest.length = 0;
                int r = get_blob(import, entry, &image->manifest, err);
                if (r == 0)
                        r = manifest_parse(image->manifest.data ? image->manifest.data : "",
                                           image->manifest.length, entry->media_type, import->arena,
                                           manifest, err);
                if (r < 0)
                        return r;
                image->manifest_digest = entry->digest;
                image->media_type = manifest->media_type;
                if (!manifest->is_index)
                        return 0;
                if ((r = manifest_select(manifest, &platform, &entry, err)) < 0)
                        return r;
        }
        return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d indexes inside each other",
                         FETCH_INDEX_DEPTH_MAX);
}

static int read_layers(struct import *import, const struct manifest *manifest,
                       struct import_image *image, struct error *err)
{
        struct manifest_config config;
        int r = get_blob(import, &manifest->config, &image->config, err);

        image->config_digest = manifest->config.digest;
        if (r == 0)
                r = import_config(import, image, &config, manifest->count, err);
        if (r < 0)
                return r;
        struct import_layer *layers =
                arena_array(import->arena, manifest->count + 1, sizeof(*layers));
        for (size_t i = 0; i < manifest->count; i++) {
                const struct descriptor *entry = &manifest->entries[i];
                AUTO_FREE char *name = blob_name(entry->digest);
                if (strstr(entry->media_type, "+encrypted"))
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "layer %zu is encrypted: pull such an image from a "
                                         "registry",
                                         i + 1);
                layers[i] = (struct import_layer){arena_strdup(import->arena, name), entry->digest,
                                                  entry->size, config.diff_ids[i]};
        }
        image->layers = layers;
        image->layer_count = manifest->count;
        return 0;
}

/* ---- names ---- */

/* A tag alone is no name: it needs the request's, without a tag of its own, before it. */
static int add_tag(struct import *import, struct import_image *image, const char *tag,
                   struct error *err)
{
        const char *name = import->request->name;
        if (!name)
                return 0; /* import_need_name says what to do */
        if (strrchr(name, ':') > strrchr(name, '/') || strchr(name, '@'))
                return import_add_name(import, image, name, err);
        AUTO_FREE char *text = xprintf("%s:%s", name, tag);
        return import_add_name(import, image, text, err);
}

static int add_names(struct import *import, const struct descriptor *entry,
                     struct import_image *image, struct error *err)
{
        const char *full = descriptor_annotation(entry, MEDIA_CONTAINERD_NAME);
        const char *name = descriptor_annotation(entry, MEDIA_REF_NAME);

        if (full)
                return import_add_name(import, image, full, err);
        if (name && strpbrk(name, "/:"))
                return import_add_name(import, image, name, err);
        return name && name[0] ? add_tag(import, image, name, err) : 0;
}

static bool same_name(const struct descriptor *a, const struct descriptor *b)
{
        const char *keys[] = {MEDIA_CONTAINERD_NAME, MEDIA_REF_NAME};
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                const char *one = descriptor_annotation(a, keys[i]);
                const char *other = descriptor_annotation(b, keys[i]);
                if (strcmp(one ? one : "", other ? other : "") != 0)
                        return false;
        }
        return true;
}

/* Of the entries that have the first one's name, the one for the platform. */
static int select_entry(struct import *import, const struct manifest *index, size_t first,
                        const struct descriptor **entry, struct error *err)
{
        const struct fetch_request *request = &import->request->fetch;
        struct platform platform =
                platform_complete(request->os, request->architecture, request->variant);
        struct descriptor *same = arena_array(import->arena, index->count, sizeof(*same));
        struct manifest part = {.is_index = true, .entries = same};

        for (size_t i = first; i < index->count; i++)
                if (same_name(&index->entries[i], &index->entries[first]))
                        same[part.count++] = index->entries[i];
        if (part.count == 1) {
                *entry = same;
                return 0;
        }
        return manifest_select(&part, &platform, entry, err);
}

/* ---- the whole ---- */

static int import_entry(struct import *import, const struct manifest *index,
                        const struct descriptor *entry, struct error *err)
{
        AUTO_IMPORT_IMAGE struct import_image image = {0};
        struct manifest manifest;
        int r;

        if ((r = find_manifest(import, entry, &image, &manifest, err)) < 0 ||
            (r = read_layers(import, &manifest, &image, err)) < 0)
                return r;
        /* The same image under other names. */
        for (size_t i = 0; r == 0 && i < index->count; i++)
                if (strcmp(index->entries[i].digest, entry->digest) == 0)
                        r = add_names(import, &index->entries[i], &image, err);
        if (r == 0)
                r = import_need_name(import, &image, err);
        return r < 0 ? r : import_image(import, &image, err);
}

static int import_entries(struct import *import, const struct manifest *index, struct error *err)
{
        struct table *done = table_new();
        int r = 0;

        for (size_t i = 0; r == 0 && i < index->count; i++) {
                const struct descriptor *entry = NULL;
                bool first = true;
                for (size_t j = 0; j < i && first; j++)
                        first = !same_name(&index->entries[j], &index->entries[i]);
                if (!first)
                        continue;
                r = select_entry(import, index, i, &entry, err);
                if (r == 0 && !table_put(done, entry->digest, import))
                        r = import_entry(import, index, entry, err);
                if (r < 0)
                        error_context(err, "entry %zu of index.json", i + 1);
        }
        table_free(done);
        return r;
}

static int check_layout(struct import *import, struct error *err)
{
        static const char place[] = "oci-layout";
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *layout = NULL;
        const char *version = "";

        int r = archive_get(import->index, place, FETCH_DOCUMENT_MAX, &text, err);
        if (r == 0)
                r = json_parse(text.data ? text.data : "", text.length, place, &layout, err);
        if (r == 0)
                r = json_get_string(layout, "imageLayoutVersion", place, &version, err);
        if (r == 0 && strncmp(version, "1.", 2) != 0)
                r = error_set(err, ERROR_FAILED_PRECONDITION,
                              "oci-layout: imageLayoutVersion \"%.50s\", which is not known",
                              version);
        return r;
}

int import_oci(struct import *import, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct manifest index;
        int r;

        if ((r = check_layout(import, err)) < 0 ||
            (r = archive_get(import->index, "index.json", FETCH_DOCUMENT_MAX, &text, err)) < 0)
                return r;
        r = manifest_parse(text.data ? text.data : "", text.length, MEDIA_OCI_INDEX, import->arena,
                           &index, err);
        if (r < 0)
                return error_context(err, "index.json");
        if (!index.is_index || index.count == 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "index.json: it names no image");
        return import_entries(import, &index, err);
}
