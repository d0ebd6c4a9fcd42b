#include "image/fetch/blob.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "image/fetch/limits.h"

#define TOLD_MAX 700 /* bytes of one URL's failure beside others */

struct blob {
        const char *digest;
        int64_t size;
        int64_t offset; /* bytes that the sink has */
        int64_t skip;   /* bytes of this transfer that it has already */
        int resumptions;
        bool begun;     /* this transfer's first bytes came */
        bool ended;     /* by the sink or a lie: no further try */
        bool elsewhere; /* the endpoint's URL is the blob's own */
        blob_sink *sink;
        void *argument;
};

/* Where this answer starts; a server may ignore the range. */
static int begin_transfer(struct blob *blob, const struct http_call *call, struct error *err)
{
        blob->begun = true;
        blob->skip = 0;
        if (call->status == 206) {
                if (call->range_from != blob->offset)
                        return error_set(err, ERROR_UNAVAILABLE,
                                         "it sends another range than it was asked for");
        } else {
                blob->skip = blob->offset;
        }
        return 0;
}

static int keep_blob(struct http_call *call, const char *bytes, size_t length, struct error *err)
{
        struct blob *blob = call->argument;
        int r;

        if (!blob->begun && (r = begin_transfer(blob, call, err)) < 0)
                return r;
        if (blob->skip > 0) {
                size_t part = (int64_t)length < blob->skip ? length : (size_t)blob->skip;
                blob->skip -= (int64_t)part;
                bytes += part;
                length -= part;
        }
        if (length == 0)
                return 0;
        blob->ended = true;
        if ((int64_t)length > blob->size - blob->offset)
                return error_set(err, ERROR_DATA_LOSS,
                                 "longer than the %lld bytes that the manifest says",
                                 (long long)blob->size);
        r = blob->sink(blob->argument, bytes, length, err);
        if (r < 0)
                return r;
        blob->ended = false;
        blob->offset += (int64_t)length;
        return 0;
}

/* One transfer, from where the last one ended. */
static int transfer_blob(const struct endpoint *endpoint, struct http_client *client,
                         struct blob *blob, struct http_call *call, bool *passing,
                         struct error *err)
{
        AUTO_FREE char *url = blob->elsewhere ? xstrdup(endpoint->url)
                                              : xprintf("%s/blobs/%s%s", endpoint->url,
                                                        blob->digest, endpoint->query);

        blob->begun = false;
        call->url = url;
        call->from = blob->offset;
        call->sink = keep_blob;
        call->argument = blob;
        int r = registry_perform(endpoint, client, call, passing, err);
        call->url = NULL;
        if (blob->ended)
                *passing = false;
        /* Nothing is missing from a transfer that broke after its last byte. */
        if (r < 0 && *passing && blob->offset == blob->size && blob->begun)
                return 0;
        if (r == 0 && blob->offset < blob->size) {
                *passing = true;
                r = error_set(err, ERROR_UNAVAILABLE, "the transfer ends");
        }
        if (r < 0 && *passing && blob->offset > 0)
                error_context(err, "after %lld of %lld bytes", (long long)blob->offset,
                              (long long)blob->size);
        return r;
}

/* A transfer that brought something is gone on with at once; one that did not is an ordinary try.
 */
static int request_blob(const struct endpoint *endpoint, struct http_client *client, void *argument,
                        struct http_call *call, bool *passing, struct error *err)
{
        struct blob *blob = argument;

        for (;;) {
                int64_t before = blob->offset;
                int r = transfer_blob(endpoint, client, blob, call, passing, err);
                if (r == 0 || !*passing || blob->offset == before ||
                    ++blob->resumptions > FETCH_TRANSFER_TRIES)
                        return r;
                http_call_fini(call);
        }
}

/*
 * Layers that may not be distributed stay with who made them. The registry comes first: whoever put
 * them there meant them to be found, and a node may reach nothing else. err has its refusal.
 */
static int stream_elsewhere(struct registry *registry, struct http_client *client,
                            const struct descriptor *descriptor, struct blob *blob,
                            struct error *err)
{
        blob->elsewhere = true;
        for (size_t i = 0; i < descriptor->url_count; i++) {
                struct error why = {0};
                int r = registry_try_url(registry, client, descriptor->urls[i], request_blob, blob,
                                         &why);
                if (r == 0)
                        return 0;
                if (why.code == ERROR_CANCELLED || why.code == ERROR_DATA_LOSS) {
                        *err = why;
                        return r;
                }
                size_t length = strlen(err->message);
                snprintf(err->message + length, sizeof(err->message) - length, "; %.*s", TOLD_MAX,
                         why.message);
        }
        return err->number;
}

int blob_stream(struct registry *registry, struct http_client *client,
                const struct descriptor *descriptor, blob_sink *sink, void *argument,
                struct error *err)
{
        struct blob blob = {.digest = descriptor->digest,
                            .size = descriptor->size,
                            .sink = sink,
                            .argument = argument};
        int r = registry_try(registry, client, false, request_blob, &blob, err);
        if (r < 0 && err->code == ERROR_NOT_FOUND)
                return stream_elsewhere(registry, client, descriptor, &blob, err);
        return r;
}

/* ---- asking ---- */

static int keep_nothing(struct http_call *call, const char *bytes, size_t length, struct error *err)
{
        (void)call, (void)bytes, (void)length, (void)err;
        return 0;
}

static int request_head(const struct endpoint *endpoint, struct http_client *client, void *argument,
                        struct http_call *call, bool *passing, struct error *err)
{
        const char *digest = argument;
        AUTO_FREE char *url = xprintf("%s/blobs/%s%s", endpoint->url, digest, endpoint->query);

        call->url = url;
        call->head = true;
        call->sink = keep_nothing;
        int r = registry_perform(endpoint, client, call, passing, err);
        call->url = NULL;
        /* A server without HEAD cannot be asked this way. */
        if (r < 0 && (call->status == 405 || call->status == 501))
                return 0;
        return r;
}

int blob_check(struct registry *registry, struct http_client *client, const char *digest,
               struct error *err)
{
        return registry_try(registry, client, false, request_head, (void *)(uintptr_t)digest, err);
}
