#include "image/fetch/blob.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "image/fetch/limits.h"

#define TOLD_MAX 700 /* bytes of one URL's failure beside others */

struct blob {
        struct blob_part *part;
        int64_t skip;   /* bytes of this transfer that the sink has already */
        bool begun;     /* this transfer's first bytes came */
        bool ended;     /* by the sink or a lie: no further try */
        bool elsewhere; /* the endpoint's URL is the blob's own */
};

/* Whether the answer's end is ours to say. */
static bool is_bounded(const struct blob_part *part)
{
        return part->strict || part->end < part->size;
}

static int refuse_answer(struct blob *blob, const char *what, struct error *err)
{
        blob->part->unsuited = true;
        /* One that lies about a range would do so again. */
        blob->ended = is_bounded(blob->part);
        return error_set(err, ERROR_UNAVAILABLE, "it sends %s than it was asked for", what);
}

/* Where this answer starts; a server may ignore the range. */
static int begin_transfer(struct blob *blob, const struct http_call *call, struct error *err)
{
        struct blob_part *part = blob->part;

        blob->begun = true;
        blob->skip = 0;
        if (call->status == 206) {
                if (call->range_from != part->offset)
                        return refuse_answer(blob, "another range", err);
                if (call->range_total >= 0 && call->range_total != part->size)
                        return refuse_answer(blob, "a range of something else", err);
                part->unsuited = false;
                return 0;
        }
        if (part->strict)
                return refuse_answer(blob, "more", err);
        part->unsuited = is_bounded(part);
        blob->skip = part->offset;
        part->end = part->size;
        return 0;
}

static int pass_on(struct blob *blob, const char *bytes, size_t length, struct error *err)
{
        struct blob_part *part = blob->part;

        blob->ended = true;
        int r = part->sink(part->argument, bytes, length, err);
        if (r < 0)
                return r;
        blob->ended = false;
        part->offset += (int64_t)length;
        return 0;
}

static int keep_blob(struct http_call *call, const char *bytes, size_t length, struct error *err)
{
        struct blob *blob = call->argument;
        struct blob_part *part = blob->part;
        int r;

        if (!blob->begun && (r = begin_transfer(blob, call, err)) < 0)
                return r;
        if (blob->skip > 0) {
                size_t known = (int64_t)length < blob->skip ? length : (size_t)blob->skip;
                blob->skip -= (int64_t)known;
                bytes += known;
                length -= known;
        }
        if (length == 0)
                return 0;
        int64_t room = part->end - part->offset;
        if ((int64_t)length <= room)
                return pass_on(blob, bytes, length, err);
        if (is_bounded(part)) {
                r = room > 0 ? pass_on(blob, bytes, (size_t)room, err) : 0;
                if (r == 0)
                        r = refuse_answer(blob, "more", err);
                return r;
        }
        blob->ended = true;
        return error_set(err, ERROR_DATA_LOSS, "longer than the %lld bytes that the manifest says",
                         (long long)part->size);
}

/* What a server says to a range that it does not understand. */
static bool refuses_ranges(long status)
{
        return status == 400 || status == 416 || status == 501;
}

/* One transfer, from where the last one ended. */
static int transfer_blob(const struct endpoint *endpoint, struct http_client *client,
                         struct blob *blob, struct http_call *call, bool *passing,
                         struct error *err)
{
        struct blob_part *part = blob->part;
        AUTO_FREE char *url = blob->elsewhere ? xstrdup(endpoint->url)
                                              : xprintf("%s/blobs/%s%s", endpoint->url,
                                                        part->digest, endpoint->query);

        blob->begun = false;
        call->url = url;
        call->from = part->offset;
        call->to = is_bounded(part) ? part->end : 0;
        call->sink = keep_blob;
        call->argument = blob;
        int r = registry_perform(endpoint, client, call, passing, err);
        call->url = NULL;
        /* Nothing is missing from a transfer that broke after its last byte. */
        if (r < 0 && *passing && part->offset == part->end && blob->begun)
                return 0;
        if (r < 0 && is_bounded(part) && refuses_ranges(call->status))
                part->unsuited = blob->ended = true;
        if (blob->ended)
                *passing = false;
        if (r == 0 && part->offset < part->end) {
                *passing = true;
                r = error_set(err, ERROR_UNAVAILABLE, "the transfer ends");
        }
        if (r < 0 && *passing && part->offset > 0)
                error_context(err, "after %lld of %lld bytes", (long long)part->offset,
                              (long long)part->size);
        return r;
}

/* A transfer that brought something is gone on with at once; one that did not is an ordinary try.
 */
static int request_blob(const struct endpoint *endpoint, struct http_client *client, void *argument,
                        struct http_call *call, bool *passing, struct error *err)
{
        struct blob *blob = argument;
        struct blob_part *part = blob->part;

        for (;;) {
                int64_t before = part->offset;
                blob->ended = false;
                int r = transfer_blob(endpoint, client, blob, call, passing, err);
                if (r == 0 || !*passing || part->offset == before ||
                    ++part->resumptions > FETCH_TRANSFER_TRIES)
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
        struct blob_part whole = {.digest = descriptor->digest,
                                  .size = descriptor->size,
                                  .end = descriptor->size,
                                  .sink = sink,
                                  .argument = argument};
        struct blob blob = {.part = &whole};
        int r = registry_try(registry, client, false, request_blob, &blob, err);
        if (r < 0 && err->code == ERROR_NOT_FOUND)
                return stream_elsewhere(registry, client, descriptor, &blob, err);
        return r;
}

int blob_fetch_part(struct registry *registry, struct http_client *client, struct blob_part *part,
                    struct error *err)
{
        struct blob blob = {.part = part};
        return registry_try(registry, client, false, request_blob, &blob, err);
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
