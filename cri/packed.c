#include "cri/packed.h"

#include "base/arena.h"
#include "base/memory.h"
#include "cri/utf8.h"

#define LENGTH_MAX 10 /* bytes of a protobuf length */

static size_t put_length(uint8_t *out, size_t length)
{
        size_t count = 0;
        for (; length >= 0x80; length >>= 7)
                out[count++] = (uint8_t)(length | 0x80);
        out[count++] = (uint8_t)length;
        return count;
}

uint8_t *packed_message(const ProtobufCMessage *message, size_t *size)
{
        AUTO_ARENA struct arena *arena = arena_new();
        const ProtobufCMessage *clean = utf8_clean_message(arena, message);
        size_t length = protobuf_c_message_get_packed_size(clean);
        uint8_t *bytes = xcalloc(1, LENGTH_MAX + length);

        *size = put_length(bytes, length);
        *size += protobuf_c_message_pack(clean, bytes + *size);
        return bytes;
}

ProtobufCMessageUnknownField packed_field(uint32_t number, const uint8_t *bytes, size_t size)
{
        return (ProtobufCMessageUnknownField){
                .tag = number,
                .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                .len = size,
                .data = (uint8_t *)bytes,
        };
}
