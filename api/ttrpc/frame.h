/*
 * frame: ttrpc's messages on the wire.
 *
 * Ten bytes of header, big-endian (length 4, stream 4, type 1, flags 1), then the payload. Pure
 * functions; any thread.
 */
#ifndef CRISP_API_TTRPC_FRAME_H
#define CRISP_API_TTRPC_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define TTRPC_HEADER_LENGTH 10
#define TTRPC_PAYLOAD_MAX   (4 * 1024 * 1024)  /* bytes; the protocol's own bound */
#define TTRPC_DISCARD_MAX   (64 * 1024 * 1024) /* a longer payload is no mistake but no ttrpc */

enum ttrpc_frame_type {
        TTRPC_REQUEST = 1,
        TTRPC_RESPONSE = 2,
        TTRPC_DATA = 3, /* of streams */
};

struct ttrpc_frame {
        uint32_t length; /* of the payload */
        uint32_t stream; /* odd where the client began it, which is always */
        uint8_t type;
        uint8_t flags;
        const uint8_t *payload; /* borrowed; null where it was too long and was dropped */
};

void ttrpc_frame_pack(const struct ttrpc_frame *frame, uint8_t header[TTRPC_HEADER_LENGTH]);
void ttrpc_frame_unpack(const uint8_t header[TTRPC_HEADER_LENGTH], struct ttrpc_frame *frame);

/* Takes bytes as they come and gives whole frames. Zeroes are a new one. */
struct ttrpc_reader {
        struct buffer bytes;
        size_t taken;   /* of bytes, given out already */
        size_t discard; /* bytes of an oversized payload still to be dropped */
};

/* Adds what was read. */
void ttrpc_reader_add(struct ttrpc_reader *reader, const void *bytes, size_t length);

/*
 * The next frame: 1, and its payload is valid until the next call with this reader; 0 where more
 * bytes are needed; -EPROTO where this is not ttrpc. A payload past TTRPC_PAYLOAD_MAX is dropped as
 * it comes, and its frame given at once, with null for the payload.
 */
int ttrpc_reader_next(struct ttrpc_reader *reader, struct ttrpc_frame *frame);

void ttrpc_reader_fini(struct ttrpc_reader *reader);

#endif
