/* A layer's tar stream made again, from its record and its tree. */
#include <errno.h>
#include <fcntl.h>
#include <isa-l/crc64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "image/fetch/beneath.h"
#include "image/fetch/limits.h"
#include "image/fetch/split.h"
#include "image/fetch/split_format.h"

#define INPUT_SIZE   (64u << 10)
#define OUTPUT_SIZE  (128u << 10)
#define CONTENT_SIZE (256u << 10)
#define HOW_MAX      128

/* Contents that the tree has no more. */
struct kept {
        char *path;
        uint64_t before; /* the number of files named before it was kept */
        char *bytes;
        size_t length;
};

struct remake {
        int record_fd, root_fd;
        const struct split_sink *sink; /* null while kept contents are looked for */
        int64_t offset;                /* in the record */
        ZSTD_DStream *zstd;
        char *input, *output, *contents;
        ZSTD_inBuffer in;
        size_t used, filled; /* of output */
        bool ended;          /* the frame is whole */

        int64_t length; /* that the stream must have */
        int64_t made;
        uint64_t files;
        bool has_sum; /* the last operation named a file's contents */
        uint64_t sum;
        char path[FETCH_PATH_MAX];
        bool damaged; /* the file was told of already */
        struct kept *kept;
        size_t kept_count, kept_bytes;
};

static int damaged(struct error *err)
{
        return error_set(err, ERROR_DATA_LOSS, "the layer's record is damaged");
}

/* ---- the record ---- */

static int read_header(int fd, char header[SPLIT_HEADER_SIZE], int64_t *length, struct error *err)
{
        ssize_t count = pread(fd, header, SPLIT_HEADER_SIZE, 0);
        if (count < 0)
                return error_errno(err, errno, "reading the layer's record");
        if (count != SPLIT_HEADER_SIZE || memcmp(header, SPLIT_MAGIC, strlen(SPLIT_MAGIC)) != 0)
                return damaged(err);
        if (header[SPLIT_VERSION_AT] != SPLIT_VERSION)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the layer's record has version %d, which this crisp does not "
                                 "know",
                                 header[SPLIT_VERSION_AT]);
        uint64_t value = split_fixed_decode(header + SPLIT_LENGTH_AT);
        if (value > INT64_MAX)
                return damaged(err);
        *length = (int64_t)value;
        return 0;
}

int split_length(int record_fd, int64_t *length, struct error *err)
{
        char header[SPLIT_HEADER_SIZE];
        return read_header(record_fd, header, length, err);
}

/* Makes *bytes point to what comes next, up to max of it; returns its length, 0 at the end. */
static int64_t next_bytes(struct remake *remake, size_t max, const char **bytes, struct error *err)
{
        while (remake->used == remake->filled && !remake->ended) {
                if (remake->in.pos == remake->in.size) {
                        ssize_t count =
                                pread(remake->record_fd, remake->input, INPUT_SIZE, remake->offset);
                        if (count < 0)
                                return error_errno(err, errno, "reading the layer's record");
                        if (count == 0)
                                return damaged(err);
                        remake->offset += count;
                        remake->in = (ZSTD_inBuffer){remake->input, (size_t)count, 0};
                }
                ZSTD_outBuffer out = {remake->output, OUTPUT_SIZE, 0};
                size_t left = ZSTD_decompressStream(remake->zstd, &out, &remake->in);
                if (ZSTD_isError(left))
                        return damaged(err);
                remake->used = 0;
                remake->filled = out.pos;
                remake->ended = left == 0;
        }
        size_t there = remake->filled - remake->used;
        if (there > max)
                there = max;
        *bytes = remake->output + remake->used;
        remake->used += there;
        return (int64_t)there;
}

static int get_bytes(struct remake *remake, char *to, size_t length, struct error *err)
{
        while (length > 0) {
                const char *bytes;
                int64_t count = next_bytes(remake, length, &bytes, err);
                if (count < 0)
                        return (int)count;
                if (count == 0)
                        return damaged(err);
                memcpy(to, bytes, (size_t)count);
                to += count;
                length -= (size_t)count;
        }
        return 0;
}

static int get_number(struct remake *remake, int64_t *number, struct error *err)
{
        uint64_t value = 0;

        for (unsigned i = 0; i < SPLIT_NUMBER_MAX; i++) {
                char byte;
                int r = get_bytes(remake, &byte, 1, err);
                if (r < 0)
                        return r;
                if (i == SPLIT_NUMBER_MAX - 1)
                        break; /* more than 63 bits */
                value |= (uint64_t)(byte & 0x7f) << (7 * i);
                if (!(byte & 0x80)) {
                        *number = (int64_t)value;
                        return 0;
                }
        }
        return damaged(err);
}

static int get_path(struct remake *remake, char path[FETCH_PATH_MAX], struct error *err)
{
        int64_t length;
        int r = get_number(remake, &length, err);
        if (r < 0)
                return r;
        if (length == 0 || length >= FETCH_PATH_MAX)
                return damaged(err);
        if ((r = get_bytes(remake, path, (size_t)length, err)) < 0)
                return r;
        path[length] = '\0';
        return strlen(path) == (size_t)length ? 0 : damaged(err);
}

/* ---- the stream ---- */

static int pass_on(struct remake *remake, const char *bytes, size_t length, struct error *err)
{
        if ((int64_t)length > remake->length - remake->made)
                return damaged(err);
        remake->made += (int64_t)length;
        return remake->sink ? remake->sink->bytes(remake->sink->argument, bytes, length, err) : 0;
}

static void tell(struct remake *remake, const char *how)
{
        if (!remake->damaged)
                remake->sink->damaged(remake->sink->argument, remake->path, how);
        remake->damaged = true;
}

static int do_raw(struct remake *remake, struct error *err)
{
        int64_t length;
        int r = get_number(remake, &length, err);

        while (r == 0 && length > 0) {
                const char *bytes;
                int64_t count = next_bytes(
                        remake, length < OUTPUT_SIZE ? (size_t)length : OUTPUT_SIZE, &bytes, err);
                if (count <= 0)
                        return count < 0 ? (int)count : damaged(err);
                r = pass_on(remake, bytes, (size_t)count, err);
                length -= count;
        }
        return r;
}

/* Contents that were kept for the file that was just named, or null. */
static const struct kept *find_kept(const struct remake *remake)
{
        for (size_t i = 0; i < remake->kept_count; i++)
                if (remake->files <= remake->kept[i].before &&
                    strcmp(remake->kept[i].path, remake->path) == 0)
                        return &remake->kept[i];
        return NULL;
}

/* Passes length bytes of the open file on, or zeroes where it has not so many. */
static int pass_file(struct remake *remake, int fd, int64_t length, struct error *err)
{
        int64_t at = 0;

        while (at < length) {
                size_t wanted = length - at < CONTENT_SIZE ? (size_t)(length - at) : CONTENT_SIZE;
                ssize_t count = fd < 0 ? 0 : pread(fd, remake->contents, wanted, at);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        tell(remake, strerror(errno));
                if (count <= 0) {
                        memset(remake->contents, 0, wanted);
                        count = (ssize_t)wanted;
                        cleanup_fd(&fd);
                        fd = -1;
                }
                remake->sum = crc64_ecma_refl(remake->sum, (const unsigned char *)remake->contents,
                                              (uint64_t)count);
                int r = pass_on(remake, remake->contents, (size_t)count, err);
                if (r < 0) {
                        cleanup_fd(&fd);
                        return r;
                }
                at += count;
        }
        cleanup_fd(&fd);
        return 0;
}

/* Opens the file that was named; -1 where there is none, which was told. */
static int open_contents(struct remake *remake, int64_t length)
{
        struct stat status;
        char how[HOW_MAX];
        AUTO_FD int fd = beneath_open(remake->root_fd, remake->path, O_RDONLY | O_NONBLOCK);

        if (fd < 0) {
                tell(remake, fd == -ENOENT ? "the file is missing" : strerror(-fd));
                return -1;
        }
        if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
                tell(remake, "it is not a regular file");
                return -1;
        }
        if (status.st_size != length) {
                snprintf(how, sizeof(how), "it has %lld bytes instead of %lld",
                         (long long)status.st_size, (long long)length);
                tell(remake, how);
        }
        return take_fd(&fd);
}

static int do_file(struct remake *remake, struct error *err)
{
        int64_t length;
        int r;

        if ((r = get_number(remake, &length, err)) < 0 ||
            (r = get_path(remake, remake->path, err)) < 0)
                return r;
        remake->files++;
        remake->has_sum = true;
        remake->damaged = false;
        remake->sum = 0;
        if (length > remake->length - remake->made)
                return damaged(err);
        if (!remake->sink) {
                remake->made += length;
                return 0;
        }
        const struct kept *kept = find_kept(remake);
        if (!kept)
                return pass_file(remake, open_contents(remake, length), length, err);
        if ((int64_t)kept->length != length)
                return damaged(err);
        remake->sum = crc64_ecma_refl(0, (const unsigned char *)kept->bytes, kept->length);
        return pass_on(remake, kept->bytes, kept->length, err);
}

static int do_sum(struct remake *remake, struct error *err)
{
        char bytes[SPLIT_SUM_SIZE];
        int r = get_bytes(remake, bytes, sizeof(bytes), err);
        if (r < 0)
                return r;
        if (!remake->has_sum)
                return damaged(err);
        remake->has_sum = false;
        if (remake->sink && split_fixed_decode(bytes) != remake->sum)
                tell(remake, "its contents have changed");
        return 0;
}

static int do_kept(struct remake *remake, struct error *err)
{
        char path[FETCH_PATH_MAX];
        int64_t length;
        int r;

        if ((r = get_path(remake, path, err)) < 0 || (r = get_number(remake, &length, err)) < 0)
                return r;
        if (length > (int64_t)(SPLIT_KEPT_MAX - remake->kept_bytes))
                return damaged(err);
        if (remake->sink) {
                /* It was read before. */
                while (length > 0) {
                        const char *bytes;
                        int64_t count = next_bytes(remake, (size_t)length, &bytes, err);
                        if (count <= 0)
                                return count < 0 ? (int)count : damaged(err);
                        length -= count;
                }
                return 0;
        }
        AUTO_FREE char *bytes = xcalloc(1, (size_t)length + 1);
        if ((r = get_bytes(remake, bytes, (size_t)length, err)) < 0)
                return r;
        remake->kept_bytes += (size_t)length + 1;
        remake->kept = xrealloc(remake->kept, (remake->kept_count + 1) * sizeof(remake->kept[0]));
        remake->kept[remake->kept_count++] =
                (struct kept){xstrdup(path), remake->files, take_ptr(bytes), (size_t)length};
        return 0;
}

/* ---- the whole ---- */

static int run_operations(struct remake *remake, struct error *err)
{
        for (;;) {
                const char *operation;
                int64_t count = next_bytes(remake, 1, &operation, err);
                int r;
                if (count < 0)
                        return (int)count;
                if (count == 0)
                        return remake->made == remake->length ? 0 : damaged(err);
                switch (*operation) {
                case SPLIT_RAW:
                        r = do_raw(remake, err);
                        break;
                case SPLIT_FILE:
                        r = do_file(remake, err);
                        break;
                case SPLIT_SUM:
                        r = do_sum(remake, err);
                        break;
                case SPLIT_KEPT:
                        r = do_kept(remake, err);
                        break;
                default:
                        r = damaged(err);
                        break;
                }
                if (r < 0)
                        return r;
        }
}

static int run(struct remake *remake, const struct split_sink *sink, struct error *err)
{
        remake->sink = sink;
        remake->offset = SPLIT_HEADER_SIZE;
        remake->in = (ZSTD_inBuffer){0};
        remake->used = remake->filled = 0;
        remake->ended = remake->has_sum = false;
        remake->made = 0;
        remake->files = 0;
        ZSTD_DCtx_reset(remake->zstd, ZSTD_reset_session_only);
        return run_operations(remake, err);
}

static void remake_fini(struct remake *remake)
{
        for (size_t i = 0; i < remake->kept_count; i++) {
                free(remake->kept[i].path);
                free(remake->kept[i].bytes);
        }
        free(remake->kept);
        free(remake->input);
        free(remake->output);
        free(remake->contents);
        ZSTD_freeDStream(remake->zstd);
}

int split_remake(int record_fd, int root_fd, const struct split_sink *sink, struct error *err)
{
        char header[SPLIT_HEADER_SIZE];
        CLEANUP(remake_fini) struct remake remake = {.record_fd = record_fd, .root_fd = root_fd};

        int r = read_header(record_fd, header, &remake.length, err);
        if (r < 0)
                return r;
        remake.zstd = ZSTD_createDStream();
        if (!remake.zstd)
                return error_errno(err, ENOMEM, "zstd");
        ZSTD_DCtx_setParameter(remake.zstd, ZSTD_d_windowLogMax, FETCH_ZSTD_WINDOW_LOG);
        remake.input = xcalloc(1, INPUT_SIZE);
        remake.output = xcalloc(1, OUTPUT_SIZE);
        remake.contents = xcalloc(1, CONTENT_SIZE);
        if (header[SPLIT_KEPT_AT] && (r = run(&remake, NULL, err)) < 0)
                return r;
        return run(&remake, sink, err);
}
