#include "image/fetch/decompress.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <string.h>
#define ZSTD_STATIC_LINKING_ONLY /* for a memory of our own; it has been so since 0.8 */
#include <zstd.h>

#include "base/memory.h"
#include "image/fetch/frame.h"
#include "image/fetch/limits.h"
#include "image/fetch/memory.h"
#include "image/fetch/window.h"

#define MAGIC_SIZE      4
#define GZIP_FIRST_BYTE 0x1f

struct stream {
        struct ring *in;
        struct ring *out;
        struct digest *digest; /* or null */
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
        if (stream->digest)
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

/* ---- zstd ---- */

struct zstd {
        struct stream *stream;
        ZSTD_DStream *decoder;
        struct window *memory; /* the decoder's */
        size_t window;         /* bytes taken for it */
        unsigned char head[FRAME_HEAD_MAX];
        size_t head_length;
        bool in_frame;
};

static void zstd_drop(struct zstd *zstd)
{
        ZSTD_freeDStream(zstd->decoder);
        zstd->decoder = NULL;
        window_free(take_ptr(zstd->memory));
        memory_give_window(zstd->window);
        zstd->window = 0;
}

static bool is_broken(void *argument)
{
        const struct zstd *zstd = argument;
        const char *data;
        return ring_read_begin(zstd->stream->in, 0, &data) < 0;
}

/* For a frame that needs more than those before. */
static int make_decoder(struct zstd *zstd, uint64_t window, struct error *err)
{
        if (zstd->decoder && window <= zstd->window)
                return 0;
        if (window > UINT64_C(1) << FETCH_ZSTD_WINDOW_LOG)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "zstd: it was compressed with a window of %llu MiB, and %d are "
                                 "the bound: compress it with --long=29 at most",
                                 (unsigned long long)(window >> 20),
                                 1 << (FETCH_ZSTD_WINDOW_LOG - 20));
        zstd_drop(zstd);
        if (!memory_take_window((size_t)window, is_broken, zstd))
                return cancelled(err);
        zstd->window = (size_t)window;
        zstd->memory = window_new();
        zstd->decoder = ZSTD_createDStream_advanced(
                (ZSTD_customMem){window_allocate, window_give_back, zstd->memory});
        if (!zstd->decoder)
                return error_errno(err, ENOMEM, "zstd");
        ZSTD_DCtx_setParameter(zstd->decoder, ZSTD_d_windowLogMax, FETCH_ZSTD_WINDOW_LOG);
        return 0;
}

/* Decodes what there is of one frame. */
static int decode(struct zstd *zstd, ZSTD_inBuffer *in, struct error *err)
{
        size_t expected;
        ZSTD_outBuffer out;
        do {
                char *space;
                size_t room = ring_write_begin(zstd->stream->out, &space);
                if (room == 0)
                        return cancelled(err);
                out = (ZSTD_outBuffer){space, room, 0};
                expected = ZSTD_decompressStream(zstd->decoder, &out, in);
                if (ZSTD_isError(expected))
                        return error_set(err, ERROR_DATA_LOSS, "zstd: %s",
                                         ZSTD_getErrorName(expected));
                window_advance(zstd->memory, out.pos);
                int r = pass_on(zstd->stream, space, out.pos, err);
                if (r < 0)
                        return r;
                zstd->in_frame = expected != 0;
                /* A frame's end is where the next one's window is looked at. */
        } while (zstd->in_frame && (in->pos < in->size || out.pos == out.size));
        return 0;
}

/* Collects the frame's first bytes until they say how much memory it takes, and decodes them. */
static int begin_frame(struct zstd *zstd, ZSTD_inBuffer *in, struct error *err)
{
        const unsigned char *bytes = in->src;
        uint64_t window = 0;
        bool known = false;
        while (!known && in->pos < in->size) {
                zstd->head[zstd->head_length++] = bytes[in->pos++];
                known = frame_window(zstd->head, zstd->head_length, &window);
        }
        if (!known)
                return 0;
        int r = make_decoder(zstd, window, err);
        if (r < 0)
                return r;
        ZSTD_inBuffer head = {zstd->head, zstd->head_length, 0};
        zstd->head_length = 0;
        zstd->in_frame = true;
        while (r == 0 && head.pos < head.size) {
                if (!zstd->in_frame)
                        return error_set(err, ERROR_DATA_LOSS, "zstd: the frame is damaged");
                r = decode(zstd, &head, err);
        }
        return r;
}

static int inflate_frames(struct zstd *zstd, struct error *err)
{
        for (;;) {
                const char *data;
                ssize_t count = ring_read_begin(zstd->stream->in, 1, &data);
                if (count < 0)
                        return cancelled(err);
                if (count == 0 && !zstd->in_frame && zstd->head_length == 0)
                        return 0;
                if (count == 0)
                        return error_set(err, ERROR_DATA_LOSS,
                                         "zstd: the stream ends in its middle");
                ZSTD_inBuffer in = {data, (size_t)count, 0};
                while (in.pos < in.size) {
                        int r = zstd->in_frame ? decode(zstd, &in, err)
                                               : begin_frame(zstd, &in, err);
                        if (r < 0)
                                return r;
                }
                ring_read_end(zstd->stream->in, (size_t)count);
        }
}

static int inflate_zstd(struct stream *stream, struct error *err)
{
        struct zstd zstd = {.stream = stream};
        int r = inflate_frames(&zstd, err);
        zstd_drop(&zstd);
        return r;
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
        if (frame_begins(magic))
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
