/*
 * compress: bytes on their way out, compressed or as they are, with their digest. One thread.
 */
#ifndef CRISP_IMAGE_FETCH_COMPRESS_H
#define CRISP_IMAGE_FETCH_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/offline_request.h"
#include "image/reference.h"

struct compressor;

/* Where the bytes go. */
typedef int compressor_sink(void *argument, const void *bytes, size_t length, struct error *err);

int compressor_new(enum offline_compression kind, compressor_sink *sink, void *argument,
                   struct compressor **compressor, struct error *err);
void compressor_free(struct compressor *compressor); /* null is allowed */

int compressor_add(struct compressor *compressor, const void *bytes, size_t length,
                   struct error *err);
/* Ends the stream, and gives the sha256 digest and the number of the bytes that came out. */
int compressor_end(struct compressor *compressor, char digest[REFERENCE_DIGEST_MAX + 1],
                   int64_t *size, struct error *err);

static inline void cleanup_compressor(struct compressor **compressor)
{
        compressor_free(*compressor);
}
#define AUTO_COMPRESSOR CLEANUP(cleanup_compressor)

#endif
