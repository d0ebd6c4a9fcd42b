#include "api/ttrpc/frame.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define KEPT_MAX (64 * 1024) /* bytes of memory that an idle reader keeps */

void ttrpc_frame_pack(const struct ttrpc_frame *frame, uint8_t header[TTRPC_HEADER_LENGTH])
{
        uint32_t length = htobe32(frame->length), stream = htobe32(frame->stream);
        memcpy(header, &length, 4);
        memcpy(header + 4, &stream, 4);
        header[8] = frame->type;
        header[9] = frame->flags;
}

void ttrpc_frame_unpack(const uint8_t header[TTRPC_HEADER_LENGTH], struct ttrpc_frame *frame)
{
        uint32_t length, stream;
        memcpy(&length, header, 4);
        memcpy(&stream, header + 4, 4);
        *frame = (struct ttrpc_frame){.length = be32toh(length),
                                      .stream = be32toh(stream),
                                      .type = header[8],
                                      .flags = header[9]};
}

static void drop_taken(struct ttrpc_reader *reader)
{
        buffer_consume(&reader->bytes, reader->taken);
        reader->taken = 0;
        if (!reader->bytes.length && reader->bytes.capacity > KEPT_MAX)
                buffer_fini(&reader->bytes);
}

void ttrpc_reader_add(struct ttrpc_reader *reader, const void *bytes, size_t length)
{
        size_t dropped = length < reader->discard ? length : reader->discard;
        drop_taken(reader);
        reader->discard -= dropped;
        if (length > dropped)
                buffer_add(&reader->bytes, (const char *)bytes + dropped, length - dropped);
}

static int begin_discard(struct ttrpc_reader *reader, const struct ttrpc_frame *frame)
{
        size_t here = reader->bytes.length - reader->taken - TTRPC_HEADER_LENGTH;
        if (frame->length > TTRPC_DISCARD_MAX)
                return -EPROTO;
        if (here > frame->length)
                here = frame->length;
        reader->taken += TTRPC_HEADER_LENGTH + here;
        reader->discard = frame->length - here;
        return 1;
}

int ttrpc_reader_next(struct ttrpc_reader *reader, struct ttrpc_frame *frame)
{
        size_t left = reader->bytes.length - reader->taken;
        if (left < TTRPC_HEADER_LENGTH)
                return 0;
        const uint8_t *bytes = (const uint8_t *)reader->bytes.data + reader->taken;
        ttrpc_frame_unpack(bytes, frame);
        if (frame->length > TTRPC_PAYLOAD_MAX)
                return begin_discard(reader, frame);
        if (left - TTRPC_HEADER_LENGTH < frame->length)
                return 0;
        frame->payload = bytes + TTRPC_HEADER_LENGTH;
        reader->taken += TTRPC_HEADER_LENGTH + frame->length;
        return 1;
}

void ttrpc_reader_fini(struct ttrpc_reader *reader)
{
        buffer_fini(&reader->bytes);
        reader->taken = reader->discard = 0;
}
