#include "image/fetch/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"
#include "base/memory.h"
#include "image/fetch/decompress.h"
#include "image/fetch/decrypt.h"
#include "image/fetch/digest.h"
#include "image/fetch/limits.h"
#include "image/fetch/ring.h"
#include "image/fetch/unpack.h"

/* One of the threads, and what became of its work. */
struct part {
        pthread_t thread;
        int result;
        struct error error;
};

enum { DECOMPRESSOR, HASHER, WRITER, PARTS };

struct layer_unpacker {
        struct layer_job *job;
        struct ring *compressed; /* borrowed */
        struct ring *plain;
        struct part parts[PARTS];
        size_t started;
};

/* ---- what each of the threads does ---- */

static void *run_decompressor(void *argument)
{
        struct layer_unpacker *unpacker = argument;
        struct part *part = &unpacker->parts[DECOMPRESSOR];

        part->result = decompress_run(unpacker->compressed, unpacker->plain, NULL,
                                      unpacker->job->limits->unpacked_bytes,
                                      &unpacker->job->unpacked, &part->error);
        return NULL;
}

static int check_diff_id(struct layer_unpacker *unpacker, struct error *err)
{
        AUTO_DIGEST struct digest *digest = digest_new(unpacker->job->diff_id);
        const char *data;
        ssize_t count;

        while ((count = ring_follow_begin(unpacker->plain, &data)) > 0) {
                digest_add(digest, data, (size_t)count);
                ring_follow_end(unpacker->plain, (size_t)count);
        }
        if (count < 0)
                return error_set(err, ERROR_CANCELLED, "cancelled");
        int r = digest_check(digest, unpacker->job->diff_id, err);
        return r < 0 ? error_context(err, "uncompressed") : 0;
}

static void *run_hasher(void *argument)
{
        struct layer_unpacker *unpacker = argument;
        struct part *part = &unpacker->parts[HASHER];

        part->result = check_diff_id(unpacker, &part->error);
        return NULL;
}

static void *run_writer(void *argument)
{
        struct layer_unpacker *unpacker = argument;
        struct layer_job *job = unpacker->job;
        struct part *part = &unpacker->parts[WRITER];

        part->result = unpack_run(unpacker->plain, job->tree, job->split, job->limits->entries,
                                  &job->entries, &part->error);
        return NULL;
}

/* ---- all of them ---- */

static int make_tree(struct layer_job *job, struct error *err)
{
        id_random_hex(job->name, LAYER_NAME_LENGTH);
        if (mkdirat(job->layers_fd, job->name, 0700) < 0)
                return error_errno(err, errno, "making the layer's folder");
        AUTO_FD int fd =
                openat(job->layers_fd, job->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fchmod(fd, 0755) < 0)
                return error_errno(err, errno, "opening the layer's folder");
        int r = job->tars_fd <= 0 ? 0 : split_writer_new(job->tars_fd, job->name, &job->split, err);
        return r < 0 ? r : tree_new(fd, job->notes_left, &job->tree, err);
}

static int start_thread(pthread_t *thread, void *(*function)(void *), void *argument,
                        struct error *err)
{
        pthread_attr_t attributes;

        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, FETCH_THREAD_STACK);
        int number = pthread_create(thread, &attributes, function, argument);
        pthread_attr_destroy(&attributes);
        return number == 0 ? 0 : error_errno(err, number, "starting a thread");
}

/* Waits for those that were started. The first failure in the parts' order counts; but a thread
 * that was only stopped by another one's has nothing to tell. */
static int join_parts(struct layer_unpacker *unpacker, struct error *err)
{
        const struct error *cause = NULL;

        for (size_t i = 0; i < unpacker->started; i++) {
                struct part *part = &unpacker->parts[i];
                pthread_join(part->thread, NULL);
                if (part->result < 0 && (!cause || cause->code == ERROR_CANCELLED))
                        cause = &part->error;
        }
        return cause ? error_set(err, cause->code, "%s", cause->message) : 0;
}

static void unpacker_free(struct layer_unpacker *unpacker)
{
        split_writer_free(take_ptr(unpacker->job->split));
        ring_free(unpacker->plain);
        free(unpacker);
}

int layer_unpacker_start(struct layer_job *job, struct ring *ring, struct layer_unpacker **unpacker,
                         struct error *err)
{
        static void *(*const functions[PARTS])(void *) = {
                [DECOMPRESSOR] = run_decompressor, [HASHER] = run_hasher, [WRITER] = run_writer};
        int r = make_tree(job, err);
        if (r < 0) {
                split_writer_free(take_ptr(job->split));
                return r;
        }

        struct layer_unpacker *new = xcalloc(1, sizeof(*new));
        new->job = job;
        new->compressed = ring;
        new->plain = ring_new(FETCH_RING_SIZE);
        ring_follow(new->plain);
        while (r == 0 && new->started < PARTS) {
                struct part *part = &new->parts[new->started];
                r = start_thread(&part->thread, functions[new->started], new, err);
                new->started += r == 0;
        }
        if (r < 0) {
                struct error other;
                ring_break(ring);
                ring_break(new->plain);
                join_parts(new, &other);
                unpacker_free(new);
                return r;
        }
        *unpacker = new;
        return 0;
}

int layer_unpacker_join(struct layer_unpacker *unpacker, struct error *err)
{
        int r = join_parts(unpacker, err);
        unpacker_free(unpacker);
        return r;
}

/* ---- downloading ---- */

struct download {
        struct layer_job *job;
        struct ring *ring;
        struct digest *digest;
        struct decrypt *decrypt; /* or null */
        int64_t bytes;
};

/* Decrypts into the ring: encrypted bytes are not copied once more. */
static int put_decrypted(struct download *download, const char *bytes, size_t length,
                         struct error *err)
{
        while (length > 0) {
                char *space;
                size_t part = ring_write_begin(download->ring, &space);
                if (part == 0)
                        return error_set(err, ERROR_CANCELLED, "cancelled");
                if (part > length)
                        part = length;
                int r = decrypt_bytes(download->decrypt, bytes, part, space, err);
                if (r < 0)
                        return r;
                ring_write_end(download->ring, part);
                bytes += part;
                length -= part;
        }
        return 0;
}

static int put(struct download *download, const char *bytes, size_t length, struct error *err)
{
        if (download->decrypt)
                return put_decrypted(download, bytes, length, err);
        return ring_write(download->ring, bytes, length) < 0
                       ? error_set(err, ERROR_CANCELLED, "cancelled")
                       : 0;
}

static int keep_part(void *argument, const char *bytes, size_t length, struct error *err)
{
        struct download *download = argument;
        const struct layer_job *job = download->job;

        digest_add(download->digest, bytes, length);
        int r = put(download, bytes, length, err);
        if (r < 0)
                return r;
        download->bytes += (int64_t)length;
        struct fetch_progress progress = {.digest = job->descriptor->digest,
                                          .bytes = download->bytes,
                                          .total = job->descriptor->size};
        job->progress(job->argument, &progress);
        return 0;
}

static int download_layer(struct layer_job *job, struct ring *ring, struct decrypt *decrypt,
                          struct http_client *client, struct error *err)
{
        AUTO_DIGEST struct digest *digest = digest_new(job->descriptor->digest);
        struct download download = {.job = job, .ring = ring, .digest = digest, .decrypt = decrypt};

        int r = ranges_stream(job->ranges, client, job->descriptor, keep_part, &download, err);
        if (r == 0)
                r = digest_check(digest, job->descriptor->digest, err);
        if (r == 0 && decrypt)
                r = decrypt_finish(decrypt, err);
        /* Bytes that are not what was asked for do not reach their end. */
        if (r < 0)
                ring_break(ring);
        else
                ring_finish(ring);
        return r;
}

int layer_fetch(struct layer_job *job, struct http_client *client, struct error *err)
{
        AUTO_RING struct ring *ring = ring_new(FETCH_RING_SIZE);
        AUTO_DECRYPT struct decrypt *decrypt = NULL;
        struct layer_unpacker *unpacker = NULL;
        struct error unpack_error = {0};

        if (job->descriptor->size > job->limits->layer_bytes)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "%lld bytes, more than the bound of %lld for a layer",
                                 (long long)job->descriptor->size,
                                 (long long)job->limits->layer_bytes);
        int r = decrypt_is_needed(job->descriptor)
                        ? decrypt_new(job->keyring, job->descriptor, &decrypt, err)
                        : 0;
        if (r == 0)
                r = layer_unpacker_start(job, ring, &unpacker, err);
        if (r < 0 || !unpacker)
                return r;
        r = download_layer(job, ring, decrypt, client, err);
        int unpacked = layer_unpacker_join(unpacker, &unpack_error);
        if (r < 0 && err->code != ERROR_CANCELLED)
                return r;
        if (unpacked < 0)
                return error_set(err, unpack_error.code, "%s", unpack_error.message);
        return r;
}
