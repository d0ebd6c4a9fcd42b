#include "image/fetch/split.h"

#include <errno.h>
#include <fcntl.h>
#include <isa-l/crc64.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "image/fetch/split_format.h"

#define LEVEL       1
#define WINDOW_LOG  19
#define OUTPUT_SIZE (64u << 10)
#define BLOCK       512

struct split_writer {
        int folder_fd; /* our own */
        int fd;
        char *name;
        ZSTD_CStream *zstd;
        char *output;
        int64_t written; /* bytes of the file */
        bool spoilt, kept, finished;
        size_t kept_bytes;

        const char *chunk; /* what is lent, from the stream's offset chunk_at on */
        size_t chunk_length;
        int64_t chunk_at;
        struct buffer pending; /* bytes before chunk_at of which is not known yet what they are */
        int64_t done;          /* all before is in the record; may be beyond what has come */

        int64_t contents_end; /* of the file under way */
        uint64_t sum;
};

int split_writer_new(int folder_fd, const char *name, struct split_writer **writer,
                     struct error *err)
{
        static const char zeroes[SPLIT_HEADER_SIZE];
        AUTO_SPLIT_WRITER struct split_writer *new = xcalloc(1, sizeof(*new));

        new->name = xstrdup(name);
        new->fd = -1;
        new->folder_fd = fcntl(folder_fd, F_DUPFD_CLOEXEC, 0);
        if (new->folder_fd < 0)
                return error_errno(err, errno, "folder for the layer's record");
        new->fd =
                openat(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (new->fd < 0 || write(new->fd, zeroes, sizeof(zeroes)) != sizeof(zeroes))
                return error_errno(err, errno, "making the layer's record");
        new->written = sizeof(zeroes);
        new->output = xcalloc(1, OUTPUT_SIZE);
        new->zstd = ZSTD_createCStream();
        if (!new->zstd)
                return error_errno(err, ENOMEM, "zstd");
        ZSTD_CCtx_setParameter(new->zstd, ZSTD_c_compressionLevel, LEVEL);
        ZSTD_CCtx_setParameter(new->zstd, ZSTD_c_windowLog, WINDOW_LOG);
        ZSTD_CCtx_setParameter(new->zstd, ZSTD_c_checksumFlag, 1);
        *writer = take_ptr(new);
        return 0;
}

static void drop_file(struct split_writer *writer)
{
        if (writer->fd < 0)
                return;
        unlinkat(writer->folder_fd, writer->name, 0);
        close(writer->fd);
        writer->fd = -1;
}

void split_writer_free(struct split_writer *writer)
{
        if (!writer)
                return;
        if (!writer->finished)
                drop_file(writer);
        cleanup_fd(&writer->fd);
        cleanup_fd(&writer->folder_fd);
        ZSTD_freeCStream(writer->zstd);
        buffer_fini(&writer->pending);
        free(writer->output);
        free(writer->name);
        free(writer);
}

void split_spoil(struct split_writer *writer)
{
        writer->spoilt = true;
        buffer_fini(&writer->pending);
        drop_file(writer);
}

/* ---- operations ---- */

static int write_out(struct split_writer *writer, const char *bytes, size_t length,
                     struct error *err)
{
        writer->written += (int64_t)length;
        if (writer->written > SPLIT_FILE_MAX) {
                split_spoil(writer);
                return 0;
        }
        while (length > 0) {
                ssize_t count = write(writer->fd, bytes, length);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return error_errno(err, errno, "writing the layer's record");
                bytes += count;
                length -= (size_t)count;
        }
        return 0;
}

static int compress(struct split_writer *writer, const void *bytes, size_t length,
                    ZSTD_EndDirective mode, struct error *err)
{
        ZSTD_inBuffer in = {bytes, length, 0};
        size_t left = 1;

        while (!writer->spoilt && (in.pos < in.size || (mode == ZSTD_e_end && left != 0))) {
                ZSTD_outBuffer out = {writer->output, OUTPUT_SIZE, 0};
                left = ZSTD_compressStream2(writer->zstd, &out, &in, mode);
                if (ZSTD_isError(left))
                        return error_set(err, ERROR_INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
                int r = out.pos > 0 ? write_out(writer, writer->output, out.pos, err) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int put(struct split_writer *writer, const void *bytes, size_t length, struct error *err)
{
        return compress(writer, bytes, length, ZSTD_e_continue, err);
}

/* An operation's letter and its first number. */
static int put_head(struct split_writer *writer, char operation, uint64_t number, struct error *err)
{
        char head[1 + SPLIT_NUMBER_MAX] = {operation};
        return put(writer, head, 1 + split_number_encode(number, head + 1), err);
}

static int put_text(struct split_writer *writer, const char *text, struct error *err)
{
        char number[SPLIT_NUMBER_MAX];
        size_t length = strlen(text);
        int r = put(writer, number, split_number_encode(length, number), err);
        return r < 0 ? r : put(writer, text, length, err);
}

static int put_raw(struct split_writer *writer, const char *bytes, size_t length, struct error *err)
{
        if (length == 0)
                return 0;
        int r = put_head(writer, SPLIT_RAW, length, err);
        return r < 0 ? r : put(writer, bytes, length, err);
}

/* ---- the stream ---- */

void split_lend(struct split_writer *writer, const char *bytes, size_t length)
{
        writer->chunk = bytes;
        writer->chunk_length = length;
}

/* Forgets the pending bytes before until. */
static void drop_pending(struct split_writer *writer, int64_t until)
{
        int64_t start = writer->chunk_at - (int64_t)writer->pending.length;

        if (until >= writer->chunk_at)
                writer->pending.length = 0;
        else if (until > start)
                buffer_consume(&writer->pending, (size_t)(until - start));
}

/* Records what came before until and is not in the record yet, as it is. */
static int put_until(struct split_writer *writer, int64_t until, struct error *err)
{
        int64_t chunk_end = writer->chunk_at + (int64_t)writer->chunk_length;
        int r;

        drop_pending(writer, writer->done);
        if (until > chunk_end)
                until = chunk_end;
        if (writer->done < writer->chunk_at && until > writer->done) {
                int64_t end = until < writer->chunk_at ? until : writer->chunk_at;
                r = put_raw(writer, writer->pending.data, (size_t)(end - writer->done), err);
                if (r < 0)
                        return r;
                writer->done = end;
                drop_pending(writer, end);
        }
        if (until > writer->done) {
                r = put_raw(writer, writer->chunk + (writer->done - writer->chunk_at),
                            (size_t)(until - writer->done), err);
                if (r < 0)
                        return r;
                writer->done = until;
        }
        return 0;
}

int split_return(struct split_writer *writer, int64_t consumed, struct error *err)
{
        int64_t end = writer->chunk_at + (int64_t)writer->chunk_length;

        if (!writer->spoilt) {
                int r = put_until(writer, consumed, err);
                if (r < 0)
                        return r;
        }
        /* The parser has copied these, and has yet to say what they are. */
        if (!writer->spoilt && writer->done < end) {
                int64_t from = writer->done > writer->chunk_at ? writer->done : writer->chunk_at;
                buffer_add(&writer->pending, writer->chunk + (from - writer->chunk_at),
                           (size_t)(end - from));
        }
        writer->chunk_at = end;
        writer->chunk = NULL;
        writer->chunk_length = 0;
        return 0;
}

/* ---- contents ---- */

int split_contents(struct split_writer *writer, int64_t start, int64_t length, const char *path,
                   struct error *err)
{
        int r;

        if (writer->spoilt)
                return 0;
        if (start < writer->done || start > writer->chunk_at + (int64_t)writer->chunk_length) {
                split_spoil(writer);
                return 0;
        }
        if ((r = put_until(writer, start, err)) < 0 ||
            (r = put_head(writer, SPLIT_FILE, (uint64_t)length, err)) < 0 ||
            (r = put_text(writer, path, err)) < 0)
                return r;
        writer->done = writer->contents_end = start + length;
        writer->sum = 0;
        return 0;
}

void split_contents_add(struct split_writer *writer, const void *bytes, size_t length)
{
        if (!writer->spoilt)
                writer->sum = crc64_ecma_refl(writer->sum, bytes, length);
}

int split_contents_end(struct split_writer *writer, int64_t position, struct error *err)
{
        char operation[1 + SPLIT_SUM_SIZE] = {SPLIT_SUM};

        if (position < writer->contents_end || position >= writer->contents_end + BLOCK)
                split_spoil(writer);
        if (writer->spoilt)
                return 0;
        split_fixed_encode(writer->sum, operation + 1);
        return put(writer, operation, sizeof(operation), err);
}

/* Adds length bytes of the file to the record; a file that ends early spoils it. */
static int put_file(struct split_writer *writer, int fd, size_t length, struct error *err)
{
        char bytes[16384];

        while (length > 0) {
                ssize_t count = read(fd, bytes, length < sizeof(bytes) ? length : sizeof(bytes));
                if (count < 0)
                        return error_errno(err, errno, "reading the file that it replaces");
                if (count == 0) {
                        split_spoil(writer);
                        return 0;
                }
                int r = put(writer, bytes, (size_t)count, err);
                if (r < 0)
                        return r;
                length -= (size_t)count;
        }
        return 0;
}

int split_replaced(struct split_writer *writer, int parent_fd, const char *name, const char *path,
                   struct error *err)
{
        struct stat status;
        char number[SPLIT_NUMBER_MAX];
        int r;

        if (writer->spoilt)
                return 0;
        AUTO_FD int fd = openat(parent_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0)
                return error_errno(err, errno, "opening the file that it replaces");
        if (!S_ISREG(status.st_mode) || status.st_size == 0)
                return 0;
        if (status.st_size > (int64_t)(SPLIT_KEPT_MAX - writer->kept_bytes)) {
                split_spoil(writer);
                return 0;
        }
        size_t length = (size_t)status.st_size;
        char operation = SPLIT_KEPT;
        writer->kept = true;
        writer->kept_bytes += length;
        if ((r = put(writer, &operation, 1, err)) < 0 || (r = put_text(writer, path, err)) < 0 ||
            (r = put(writer, number, split_number_encode(length, number), err)) < 0)
                return r;
        return put_file(writer, fd, length, err);
}

/* ---- the end ---- */

int split_finish(struct split_writer *writer, struct error *err)
{
        char header[SPLIT_HEADER_SIZE] = {0};
        int r;

        /* Contents that were announced and did not come. */
        if (!writer->spoilt && writer->done != writer->chunk_at)
                split_spoil(writer);
        if (writer->spoilt)
                return 0;
        if ((r = compress(writer, "", 0, ZSTD_e_end, err)) < 0 || writer->spoilt)
                return r;
        memcpy(header, SPLIT_MAGIC, strlen(SPLIT_MAGIC));
        header[SPLIT_VERSION_AT] = SPLIT_VERSION;
        header[SPLIT_KEPT_AT] = writer->kept;
        split_fixed_encode((uint64_t)writer->done, header + SPLIT_LENGTH_AT);
        if (pwrite(writer->fd, header, sizeof(header), 0) != sizeof(header))
                return error_errno(err, errno, "writing the layer's record");
        writer->finished = true;
        return 0;
}
