#include "image/fetch/decompress.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <string.h>
#include <zstd.h>

#include "base/memory.h"
#include "image/fetch/limits.h"

#define MAGIC_SIZE      4
#define GZIP_FIRST_BYTE 0x1f

struct stream {
        struct ring *in;
        struct ring *out;
        struct digest *digest;
        int64_t max;
        int64_t total;
};

static int cancelled(struct error *err)
{
        return error_set(err, ERROR_CANCELLED, "cancelled");
}

/* Hands count bytes, which are in out's space already, on. */
static int pass_on(struct stream *stream, const char *bytes, size_t count, struct error *err)
{
        if (count == 0)
                return 0;
        if ((int64_t)count > stream->max - stream->total)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "unpacks to more than %lld bytes, the bound for a layer",
                                 (long long)stream->max);
        digest_add(stream->digest, bytes, count);
        stream->total += (int64_t)count;
        ring_write_end(stream->out, count);
        return 0;
}

static int copy_plain(struct stream *stream, struct error *err)
{
        for (;;) {
                const char *data;
                ssize_t count = ring_read_begin(stream->in, 1, &data);
                if (count < 0)
                        return cancelled(err);
                if (count == 0)
                        return 0;

                char *space;
                size_t room = ring_write_begin(stream->out, &space);
                if (room == 0)
                        return cancelled(err);
                size_t part = room < (size_t)count ? room : (size_t)count;
                memcpy(space, data, part);
                int r = pass_on(stream, space, part, err);
                if (r < 0)
                        return r;
                ring_read_end(stream->in, part);
        }
}

static int inflate_failure(int code, struct error *err)
{
        const char *reason = code == ISAL_INCORRECT_CHECKSUM ? "its checksum is wrong"
                             : code == ISAL_INVALID_WRAPPER || code == ISAL_UNSUPPORTED_METHOD
                                     ? "what follows a gzip member is not another one"
                                     : "the compressed data is damaged";
        return error_set(err, ERROR_DATA_LOSS, "gzip: %s", reason);
}

static void start_member(struct inflate_state *state)
{
        isal_inflate_init(state);
        state->crc_flag = ISAL_GZIP;
}

static int inflate_gzip(struct stream *stream, struct error *err)
{
        AUTO_FREE struct inflate_state *state = xcalloc(1, sizeof(*state));
        bool in_member = true;

        start_member(state);
        for (;;) {
                const char *data;
                ssize_t count = ring_read_begin(stream->in, 1, &data);
                if (count < 0)
                        return cancelled(err);
                if (count == 0 && !in_member)
                        return 0;
                if (count == 0)
                        return error_set(err, ERROR_DATA_LOSS,
                                         "gzip: the stream ends in its middle");
                if (!in_member) {
                        if ((unsigned char)data[0] != GZIP_FIRST_BYTE)
                                return inflate_failure(ISAL_INVALID_WRAPPER, err);
                        start_member(state);
                        in_member = true;
                }

                state->next_in = (uint8_t *)(uintptr_t)data;
                state->avail_in = (uint32_t)count;
                /* Output that waits inside the state comes out even when the input is used up. */
                do {
                        char *space;
                        size_t room = ring_write_begin(stream->out, &space);
                        if (room == 0)
                                return cancelled(err);
                        state->next_out = (uint8_t *)space;
                        state->avail_out = (uint32_t)room;
                        int code = isal_inflate(state);
                        if (code < 0)
                                return inflate_failure(code, err);
                        int r = pass_on(stream, space, room - state->avail_out, err);
                        if (r < 0)
                                return r;
                        in_member = state->block_state != ISAL_BLOCK_FINISH;
                } while (in_member && state->avail_out == 0);
                ring_read_end(stream->in, (size_t)count - state->avail_in);
        }
}

static void free_zstd(ZSTD_DStream **zstd)
{
        ZSTD_freeDStream(*zstd);
}

static int inflate_zstd(struct stream *stream, struct error *err)
{
        CLEANUP(free_zstd) ZSTD_DStream *zstd = ZSTD_createDStream();
        size_t expected = 1; /* 0 between frames */

        if (!zstd)
                return error_errno(err, ENOMEM, "zstd");
        ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, FETCH_ZSTD_WINDOW_LOG);
        for (;;) {
                const char *data;
                ssize_t count = ring_read_begin(stream->in, 1, &data);
                if (count < 0)
                        return cancelled(err);
                if (count == 0 && expected == 0)
                        return 0;
                if (count == 0)
                        return error_set(err, ERROR_DATA_LOSS,
                                         "zstd: the stream ends in its middle");

                ZSTD_inBuffer in = {data, (size_t)count, 0};
                ZSTD_outBuffer out;
                do {
                        char *space;
                        size_t room = ring_write_begin(stream->out, &space);
                        if (room == 0)
                                return cancelled(err);
                        out = (ZSTD_outBuffer){space, room, 0};
                        expected = ZSTD_decompressStream(zstd, &out, &in);
                        if (ZSTD_isError(expected))
                                return error_set(err, ERROR_DATA_LOSS, "zstd: %s",
                                                 ZSTD_getErrorName(expected));
                        int r = pass_on(stream, space, out.pos, err);
                        if (r < 0)
                                return r;
                        /* Between frames there is nothing left to flush, and a call would begin the
                         * next frame. */
                } while (in.pos < in.size || (out.pos == out.size && expected != 0));
                ring_read_end(stream->in, (size_t)count);
        }
}

static bool is_zstd(const unsigned char *magic)
{
        /* A frame, or one of the sixteen kinds of skippable frames. */
        return memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0 ||
               ((magic[0] & 0xf0) == 0x50 && memcmp(magic + 1, "\x2a\x4d\x18", 3) == 0);
}

static int run(struct stream *stream, struct error *err)
{
        const char *data;
        ssize_t count = ring_read_begin(stream->in, MAGIC_SIZE, &data);
        if (count < 0)
                return cancelled(err);

        unsigned char magic[MAGIC_SIZE] = {0};
        memcpy(magic, data, (size_t)count < MAGIC_SIZE ? (size_t)count : MAGIC_SIZE);
        if (magic[0] == GZIP_FIRST_BYTE && magic[1] == 0x8b)
                return inflate_gzip(stream, err);
        if (is_zstd(magic))
                return inflate_zstd(stream, err);
        return copy_plain(stream, err);
}

int decompress_run(struct ring *in, struct ring *out, struct digest *digest, int64_t max,
                   int64_t *total, struct error *err)
{
        struct stream stream = {.in = in, .out = out, .digest = digest, .max = max};
        int r = run(&stream, err);

        if (r < 0) {
                ring_break(in);
                ring_break(out);
                return r;
        }
        *total = stream.total;
        ring_finish(out);
        return 0;
}
