/* A layer as it is delivered: its digest, how it is compressed, and the tar stream in it. */
#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "image/fetch/blob.h"
#include "image/fetch/check_private.h"
#include "image/fetch/decompress.h"
#include "image/fetch/digest.h"
#include "image/fetch/limits.h"
#include "image/fetch/ring.h"
#include "image/fetch/unpack.h"

#define FEED_SIZE (256u << 10)

/* Ours delivers, a thread decompresses, another reads the tar stream. */
struct stream {
        struct check *check;
        const struct check_descriptor *layer;
        struct ring *in, *out;
        struct digest *blob, *diff;
        unsigned char magic[4];
        int64_t size, unpacked;
        uint64_t entries;
        int decompressed, looked;
        struct error decompress_error, look_error;
};

static void *run_decompressor(void *argument)
{
        struct stream *stream = argument;

        stream->decompressed = decompress_run(stream->in, stream->out, stream->diff,
                                              stream->check->limits.unpacked_bytes,
                                              &stream->unpacked, &stream->decompress_error);
        return NULL;
}

static int count_entry(void *argument, const struct tree_entry *entry, int64_t size,
                       struct error *err)
{
        struct stream *stream = argument;
        (void)entry;
        (void)size;
        if (++stream->entries > (uint64_t)stream->check->limits.entries)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "more than %lld entries",
                                 (long long)stream->check->limits.entries);
        return 0;
}

static void *run_looker(void *argument)
{
        struct stream *stream = argument;
        stream->looked = unpack_look(stream->out, count_entry, stream, &stream->look_error);
        return NULL;
}

/* ---- delivering ---- */

static int take_part(void *argument, const char *bytes, size_t length, struct error *err)
{
        struct stream *stream = argument;

        for (size_t i = 0; i < length && stream->size + (int64_t)i < (int64_t)sizeof(stream->magic);
             i++)
                stream->magic[stream->size + (int64_t)i] = (unsigned char)bytes[i];
        stream->size += (int64_t)length;
        digest_add(stream->blob, bytes, length);
        report_progress(stream->check->report, stream->size, stream->layer->size);
        /* A stream that is damaged is heard to its end all the same: for its digest. */
        if (ring_write(stream->in, bytes, length) < 0)
                return 0;
        (void)err;
        return 0;
}

static int deliver_file(struct stream *stream, struct error *err)
{
        AUTO_ARCHIVE_FILE struct archive_file file = {0};
        const char *digest = stream->layer->digest;
        AUTO_FREE char *name = xprintf("blobs/%.*s/%s", (int)strcspn(digest, ":"), digest,
                                       strchr(digest, ':') + 1);
        AUTO_FREE char *bytes = xcalloc(1, FEED_SIZE);
        int r = archive_open(stream->check->index, name, &file, err);

        for (int64_t at = 0; r == 0 && at < file.size;) {
                ssize_t count = archive_read_at(&file, bytes, FEED_SIZE, at);
                if (count < 0)
                        return error_errno(err, (int)count, "reading %s", name);
                r = take_part(stream, bytes, (size_t)count, err);
                at += count;
        }
        return r;
}

static int deliver_blob(struct stream *stream, struct error *err)
{
        struct check *check = stream->check;
        struct descriptor descriptor = {.media_type = stream->layer->media_type,
                                        .digest = stream->layer->digest,
                                        .size = stream->layer->size};

        if (descriptor.size < 0)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "its descriptor does not say how many bytes to fetch");
        return blob_stream(check->registry, check->client, &descriptor, take_part, stream, err);
}

static int deliver(struct stream *stream, struct error *err)
{
        int r = stream->check->index ? deliver_file(stream, err) : deliver_blob(stream, err);
        if (r < 0)
                ring_break(stream->in);
        else
                ring_finish(stream->in);
        return r;
}

/* ---- what came of it ---- */

static const char *compression_of(const struct stream *stream)
{
        if (memcmp(stream->magic, "\x1f\x8b", 2) == 0)
                return "+gzip";
        return memcmp(stream->magic, "\x28\xb5\x2f\xfd", 4) == 0 ? "+zstd" : "";
}

static void judge_blob(struct stream *stream)
{
        struct check *check = stream->check;
        char actual[REFERENCE_DIGEST_MAX + 1];
        const char *type = stream->layer->media_type;
        const char *plus = strchr(type, '+');
        const char *compression = compression_of(stream);

        digest_finish(stream->blob, actual);
        if (strcmp(actual, stream->layer->digest) != 0)
                CHECK_FAIL(check, "digest", "its digest is %s", actual);
        else if (stream->layer->size >= 0 && stream->size != stream->layer->size)
                CHECK_FAIL(check, "size", "it has %lld bytes, its descriptor says %lld",
                           (long long)stream->size, (long long)stream->layer->size);
        else
                CHECK_PASS(check, "digest", "%lld bytes", (long long)stream->size);
        if (strncmp(type, "application/vnd.oci.", 20) == 0 &&
            strcmp(plus ? plus : "", compression) != 0)
                CHECK_FAIL(check, "compression", "the media type says \"%.50s\", the bytes are %s",
                           plus ? plus + 1 : "none", compression[0] ? compression + 1 : "plain");
}

static void judge_stream(struct stream *stream, const char *diff_id)
{
        struct check *check = stream->check;
        char actual[REFERENCE_DIGEST_MAX + 1];

        if (stream->decompressed < 0 && stream->decompress_error.code != ERROR_CANCELLED) {
                CHECK_FAIL(check, "compression", "%s", stream->decompress_error.message);
                return;
        }
        if (stream->looked < 0) {
                CHECK_FAIL(check, "tar", "%s", stream->look_error.message);
                return;
        }
        CHECK_PASS(check, "tar", "%llu entries, %lld bytes", (unsigned long long)stream->entries,
                   (long long)stream->unpacked);
        if (!diff_id)
                return;
        digest_finish(stream->diff, actual);
        if (strcmp(actual, diff_id) == 0)
                CHECK_PASS(check, "diff ID", "%s", diff_id);
        else
                CHECK_FAIL(check, "diff ID",
                           "the uncompressed stream has %s, the configuration "
                           "says %.100s",
                           actual, diff_id);
}

static void run(struct stream *stream, const char *diff_id)
{
        pthread_t decompressor, looker;
        struct error err = {0};

        if (pthread_create(&decompressor, NULL, run_decompressor, stream) != 0) {
                CHECK_FAIL(stream->check, "tar", "it could not be looked at: no thread");
                return;
        }
        bool looks = pthread_create(&looker, NULL, run_looker, stream) == 0;
        if (!looks)
                ring_break(stream->out);
        int r = deliver(stream, &err);
        pthread_join(decompressor, NULL);
        if (looks)
                pthread_join(looker, NULL);
        if (r < 0) {
                CHECK_FAIL(stream->check, "blob", "%s", err.message);
                return;
        }
        judge_blob(stream);
        if (looks)
                judge_stream(stream, diff_id);
}

void check_layer(struct check *check, const struct check_descriptor *layer, const char *diff_id)
{
        AUTO_RING struct ring *in = ring_new(FETCH_RING_SIZE);
        AUTO_RING struct ring *out = ring_new(FETCH_RING_SIZE);
        AUTO_DIGEST struct digest *blob = digest_new(layer->digest);
        AUTO_DIGEST struct digest *diff = digest_new(diff_id);
        struct stream stream = {
                .check = check, .layer = layer, .in = in, .out = out, .blob = blob, .diff = diff};

        if (layer->size > check->limits.layer_bytes) {
                CHECK_FAIL(check, "size", "%lld bytes, more than the bound of %lld for a layer",
                           (long long)layer->size, (long long)check->limits.layer_bytes);
                return;
        }
        run(&stream, diff_id);
}
