#include "cri/wire.h"

#include <stdbool.h>
#include <string.h>

enum wire_type { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_LENGTH = 2, WIRE_32BIT = 5 };

struct reader {
        const uint8_t *at, *end;
};

static bool read_varint(struct reader *reader, uint64_t *value)
{
        *value = 0;
        for (unsigned shift = 0; shift < 64 && reader->at < reader->end; shift += 7) {
                uint8_t byte = *reader->at++;
                *value |= (uint64_t)(byte & 0x7f) << shift;
                if (!(byte & 0x80))
                        return true;
        }
        return false;
}

static bool skip(struct reader *reader, uint64_t count)
{
        if (count > (uint64_t)(reader->end - reader->at))
                return false;
        reader->at += count;
        return true;
}

static int check(const ProtobufCMessageDescriptor *descriptor, struct reader reader, int depth,
                 struct error *err);

static int check_field(const ProtobufCFieldDescriptor *field, const uint8_t *bytes, size_t length,
                       int depth, struct error *err)
{
        if (field->type == PROTOBUF_C_TYPE_STRING && memchr(bytes, '\0', length))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: a string with a zero byte",
                                 field->name);
        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
                return 0;
        struct reader inner = {bytes, bytes + length};
        int result = check(field->descriptor, inner, depth - 1, err);
        if (result >= 0)
                return 0;
        /* A path through the message: config.metadata.name. */
        struct error below = *err;
        return error_set(err, below.code, "%s.%s", field->name, below.message);
}

static int check(const ProtobufCMessageDescriptor *descriptor, struct reader reader, int depth,
                 struct error *err)
{
        if (depth <= 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "more than %d messages deep",
                                 WIRE_DEPTH_MAX);
        while (reader.at < reader.end) {
                uint64_t key, value;
                bool good = read_varint(&reader, &key);
                enum wire_type type = (enum wire_type)(key & 7);
                if (good && type == WIRE_VARINT)
                        good = read_varint(&reader, &value);
                else if (good && type == WIRE_64BIT)
                        good = skip(&reader, 8);
                else if (good && type == WIRE_32BIT)
                        good = skip(&reader, 4);
                else
                        good = good && type == WIRE_LENGTH && read_varint(&reader, &value);
                const uint8_t *start = reader.at;
                if (good && type == WIRE_LENGTH)
                        good = skip(&reader, value);
                if (!good)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "not a protobuf message");
                const ProtobufCFieldDescriptor *field =
                        type == WIRE_LENGTH && key >> 3 <= UINT32_MAX
                                ? protobuf_c_message_descriptor_get_field(descriptor,
                                                                          (unsigned)(key >> 3))
                                : NULL;
                int result = field ? check_field(field, start, (size_t)value, depth, err) : 0;
                if (result < 0)
                        return result;
        }
        return 0;
}

int wire_check_strings(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                       size_t length, struct error *err)
{
        struct error own;
        struct reader reader = {bytes, bytes + length};
        return check(descriptor, reader, WIRE_DEPTH_MAX, err ? err : &own);
}
