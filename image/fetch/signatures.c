#include "image/fetch/signatures.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "image/fetch/digest.h"
#include "image/fetch/limits.h"
#include "image/fetch/manifest.h"

#define SIMPLE_SIGNING    "application/vnd.dev.cosign.simplesigning.v1+json"
#define ANNOTATION_BASE64 "dev.cosignproject.cosign/signature"
#define ANNOTATION_CERT   "dev.sigstore.cosign/certificate"
#define ANNOTATION_CHAIN  "dev.sigstore.cosign/chain"
#define ANNOTATION_BUNDLE "dev.sigstore.cosign/bundle"

#define LOOKASIDE_TRIES 3 /* of one signature, where the server may do better */
#define STATUS_NONE     404
#define STATUS_GONE     410

struct search {
        const struct fetch_request *request;
        struct registry *registry;
        struct http_client *client;
        struct arena *arena;
        struct signature *list; /* room for SIGNATURES_MAX */
        size_t count;
};

/* ---- lookaside ---- */

struct download {
        struct buffer bytes;
};

static int keep(struct http_call *call, const char *bytes, size_t length, struct error *err)
{
        struct download *download = call->argument;
        if (length > SIGNATURE_BYTES_MAX - download->bytes.length)
                return error_set(err, ERROR_FAILED_PRECONDITION, "longer than %u bytes",
                                 SIGNATURE_BYTES_MAX);
        buffer_add(&download->bytes, bytes, length);
        return 0;
}

/* One try. *passing: another may do better. */
static int get_once(struct http_client *client, const char *url, struct buffer *bytes, bool *none,
                    bool *passing, struct error *err)
{
        static const struct http_trust machine = {0};
        struct download download = {0};
        AUTO_HTTP_CALL struct http_call call = {
                .url = url, .trust = &machine, .sink = keep, .argument = &download};
        char text[64];
        int r = http_perform(client, &call, err);

        *passing = r < 0 && err->code == ERROR_UNAVAILABLE;
        *none = r == 0 && (call.status == STATUS_NONE || call.status == STATUS_GONE);
        if (r == 0 && !*none && (call.status < 200 || call.status > 299)) {
                *passing = call.status >= 500 || call.status == 429;
                http_status_text(call.status, text, sizeof(text));
                r = error_set(err, ERROR_UNAVAILABLE, "%s", text);
        }
        if (r == 0 && !*none)
                buffer_add(bytes, download.bytes.data ? download.bytes.data : "",
                           download.bytes.length);
        buffer_fini(&download.bytes);
        return r;
}

static int get_lookaside(struct search *search, const char *url, bool *none, struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        bool passing = true;
        int r = -EIO;

        for (int tries = 0; r < 0 && passing && tries < LOOKASIDE_TRIES; tries++)
                r = get_once(search->client, url, &bytes, none, &passing, err);
        if (r < 0)
                return error_context(err, "%s", url);
        if (*none)
                return 0;
        search->list[search->count++] = (struct signature){
                .kind = SIGNATURE_SIMPLE,
                .source = arena_strdup(search->arena, url),
                .bytes =
                        arena_memdup(search->arena, bytes.data ? bytes.data : "", bytes.length + 1),
                .length = bytes.length,
        };
        return 0;
}

static int search_lookaside(struct search *search, const char *digest, struct error *err)
{
        const char *base = search->request->lookaside;
        size_t colon = strcspn(digest, ":");

        if (!base || strncmp(base, "http", 4) != 0)
                return 0;
        for (size_t i = 1; search->count < SIGNATURES_MAX; i++) {
                AUTO_FREE char *url = xprintf("%s@%.*s=%s/signature-%zu", base, (int)colon, digest,
                                              digest + colon + 1, i);
                bool none = false;
                int r = get_lookaside(search, url, &none, err);
                if (r < 0 || none)
                        return r;
        }
        return 0;
}

/* ---- attachments ---- */

static bool take_annotation(const struct descriptor *layer, const char *name, const char **value)
{
        *value = descriptor_annotation(layer, name);
        return !*value || strlen(*value) <= SIGNATURE_BYTES_MAX;
}

/* False for a layer that is no signature, or is too large for one. */
static bool read_layer(const struct descriptor *layer, struct signature *signature)
{
        *signature = (struct signature){.kind = SIGNATURE_SIGSTORE};
        return strcmp(layer->media_type, SIMPLE_SIGNING) == 0 &&
               layer->size <= SIGNATURE_BYTES_MAX &&
               take_annotation(layer, ANNOTATION_BASE64, &signature->base64) &&
               take_annotation(layer, ANNOTATION_CERT, &signature->certificate) &&
               take_annotation(layer, ANNOTATION_CHAIN, &signature->chain) &&
               take_annotation(layer, ANNOTATION_BUNDLE, &signature->bundle) && signature->base64;
}

static int get_payload(struct search *search, const struct descriptor *layer,
                       struct signature *signature, struct error *err)
{
        AUTO_BUFFER struct buffer body = BUFFER_INIT;
        char content_type[128];
        int r = registry_get(search->registry, search->client, "blobs", layer->digest, NULL,
                             SIGNATURE_BYTES_MAX, &body, content_type, err);
        if (r == 0)
                r = digest_check_bytes(body.data ? body.data : "", body.length, layer->digest, err);
        if (r < 0)
                return r;
        signature->bytes = arena_memdup(search->arena, body.data ? body.data : "", body.length + 1);
        signature->length = body.length;
        return 0;
}

static int search_attachments(struct search *search, const char *digest, struct error *err)
{
        AUTO_BUFFER struct buffer body = BUFFER_INIT;
        size_t colon = strcspn(digest, ":");
        AUTO_FREE char *tag = xprintf("%.*s-%s.sig", (int)colon, digest, digest + colon + 1);
        char content_type[128] = "";
        struct manifest manifest = {0};

        if (!search->request->attachments)
                return 0;
        int r = registry_get(search->registry, search->client, "manifests", tag, MANIFEST_ACCEPT,
                             FETCH_DOCUMENT_MAX, &body, content_type, err);
        if (r < 0)
                return err->code == ERROR_NOT_FOUND ? 0 : error_context(err, "%s", tag);
        r = manifest_parse(body.data, body.length, content_type, search->arena, &manifest, err);
        if (r < 0)
                return error_context(err, "%s", tag);
        if (manifest.is_index)
                return 0;
        for (size_t i = 0; i < manifest.count && search->count < SIGNATURES_MAX; i++) {
                struct signature signature;
                if (!read_layer(&manifest.entries[i], &signature))
                        continue;
                signature.source = arena_printf(search->arena, "%s, layer %zu", tag, i + 1);
                r = get_payload(search, &manifest.entries[i], &signature, err);
                if (r < 0)
                        return error_context(err, "%s", signature.source);
                search->list[search->count++] = signature;
        }
        return 0;
}

int signatures_fetch(const struct fetch_request *request, struct registry *registry,
                     struct http_client *client, struct arena *arena,
                     struct fetch_signatures *found, struct error *err)
{
        struct search search = {
                .request = request,
                .registry = registry,
                .client = client,
                .arena = arena,
                .list = arena_array(arena, SIGNATURES_MAX, sizeof(struct signature))};
        const char *digests[] = {found->manifest_digest, found->index_digest};

        for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++) {
                if (!digests[i])
                        continue;
                int r = search_lookaside(&search, digests[i], err);
                if (r == 0)
                        r = search_attachments(&search, digests[i], err);
                if (r < 0)
                        return r;
        }
        /* No more bytes than there may be. */
        signatures_merge(&(struct signatures){search.list, search.count}, &(struct signatures){0},
                         arena, &found->signatures);
        return 0;
}
