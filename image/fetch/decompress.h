/*
 * decompress: a layer's tar stream out of what the registry sent.
 *
 * gzip (also several members in a row), zstd (also several frames) or neither, as the first bytes
 * tell: media types lie too often. Runs on a thread of its own, between the download and the
 * unpacking.
 */
#ifndef CRISP_IMAGE_FETCH_DECOMPRESS_H
#define CRISP_IMAGE_FETCH_DECOMPRESS_H

#include <stdint.h>

#include "base/error.h"
#include "image/fetch/digest.h"
#include "image/fetch/ring.h"

/*
 * Reads in to its end, writes the tar stream to out and adds it to digest, unless that is null.
 * Finishes out on success; on failure both rings are broken. *total gets the bytes written.
 * DATA_LOSS for a damaged or cut stream, RESOURCE_EXHAUSTED past max bytes, CANCELLED where a ring
 * was broken by others. Blocks.
 */
int decompress_run(struct ring *in, struct ring *out, struct digest *digest, int64_t max,
                   int64_t *total, struct error *err);

#endif
