#include "image/fetch/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "base/memory.h"
#include "image/fetch/digest.h"

#define OUTPUT_SIZE (128u << 10)
#define INPUT_MAX   (1u << 30) /* bytes handed to zlib at once */
#define ZSTD_LEVEL  3
#define GZIP_WINDOW (15 + 16) /* the largest, in a gzip member */
#define GZIP_MEMORY 8

struct compressor {
        enum offline_compression kind;
        compressor_sink *sink;
        void *argument;
        struct digest *digest;
        int64_t size;
        z_stream gzip;
        bool has_gzip;
        ZSTD_CStream *zstd;
        char *output;
};

int compressor_new(enum offline_compression kind, compressor_sink *sink, void *argument,
                   struct compressor **compressor, struct error *err)
{
        AUTO_COMPRESSOR struct compressor *new = xcalloc(1, sizeof(*new));

        new->kind = kind;
        new->sink = sink;
        new->argument = argument;
        new->digest = digest_new(NULL);
        new->output = xcalloc(1, OUTPUT_SIZE);
        if (kind == OFFLINE_GZIP)
                new->has_gzip = deflateInit2(&new->gzip, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
                                             GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY) == Z_OK;
        if (kind == OFFLINE_ZSTD)
                new->zstd = ZSTD_createCStream();
        if ((kind == OFFLINE_GZIP && !new->has_gzip) || (kind == OFFLINE_ZSTD && !new->zstd))
                return error_errno(err, ENOMEM, "compression");
        if (new->zstd) {
                ZSTD_CCtx_setParameter(new->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
                ZSTD_CCtx_setParameter(new->zstd, ZSTD_c_checksumFlag, 1);
        }
        *compressor = take_ptr(new);
        return 0;
}

void compressor_free(struct compressor *compressor)
{
        if (!compressor)
                return;
        if (compressor->has_gzip)
                deflateEnd(&compressor->gzip);
        ZSTD_freeCStream(compressor->zstd);
        digest_free(compressor->digest);
        free(compressor->output);
        free(compressor);
}

static int pass_on(struct compressor *compressor, const void *bytes, size_t length,
                   struct error *err)
{
        digest_add(compressor->digest, bytes, length);
        compressor->size += (int64_t)length;
        return compressor->sink(compressor->argument, bytes, length, err);
}

static int deflate_part(struct compressor *compressor, const void *bytes, size_t length, bool end,
                        struct error *err)
{
        z_stream *gzip = &compressor->gzip;
        int code, r;

        gzip->next_in = (Bytef *)(uintptr_t)bytes;
        gzip->avail_in = (uInt)length;
        do {
                gzip->next_out = (Bytef *)compressor->output;
                gzip->avail_out = OUTPUT_SIZE;
                code = deflate(gzip, end ? Z_FINISH : Z_NO_FLUSH);
                if (code == Z_STREAM_ERROR)
                        return error_set(err, ERROR_INTERNAL, "gzip: the stream is in disorder");
                r = pass_on(compressor, compressor->output, OUTPUT_SIZE - gzip->avail_out, err);
                if (r < 0)
                        return r;
        } while (gzip->avail_out == 0);
        return 0;
}

static int zstd_part(struct compressor *compressor, const void *bytes, size_t length, bool end,
                     struct error *err)
{
        ZSTD_inBuffer in = {bytes, length, 0};
        size_t left;

        do {
                ZSTD_outBuffer out = {compressor->output, OUTPUT_SIZE, 0};
                left = ZSTD_compressStream2(compressor->zstd, &out, &in,
                                            end ? ZSTD_e_end : ZSTD_e_continue);
                if (ZSTD_isError(left))
                        return error_set(err, ERROR_INTERNAL, "zstd: %s", ZSTD_getErrorName(left));
                int r = pass_on(compressor, compressor->output, out.pos, err);
                if (r < 0)
                        return r;
        } while (in.pos < in.size || (end && left != 0));
        return 0;
}

static int add_part(struct compressor *compressor, const void *bytes, size_t length, bool end,
                    struct error *err)
{
        switch (compressor->kind) {
        case OFFLINE_GZIP:
                return deflate_part(compressor, bytes, length, end, err);
        case OFFLINE_ZSTD:
                return zstd_part(compressor, bytes, length, end, err);
        default:
                return pass_on(compressor, bytes, length, err);
        }
}

int compressor_add(struct compressor *compressor, const void *bytes, size_t length,
                   struct error *err)
{
        const char *from = bytes;

        while (length > 0) {
                size_t part = length < INPUT_MAX ? length : INPUT_MAX;
                int r = add_part(compressor, from, part, false, err);
                if (r < 0)
                        return r;
                from += part;
                length -= part;
        }
        return 0;
}

int compressor_end(struct compressor *compressor, char digest[REFERENCE_DIGEST_MAX + 1],
                   int64_t *size, struct error *err)
{
        int r = add_part(compressor, "", 0, true, err);
        if (r < 0)
                return r;
        digest_finish(compressor->digest, digest);
        *size = compressor->size;
        return 0;
}
