#include "cri/utf8.h"

#include <stdint.h>
#include <string.h>

#define REPLACEMENT      "\xef\xbf\xbd" /* U+FFFD */
#define REPLACEMENT_SIZE 3

/* What comes after a first byte: how many bytes, and the range of the first of them (Unicode 15,
 * table 3-7). */
static size_t sequence_length(const unsigned char *at, size_t left)
{
        unsigned char low = 0x80, high = 0xbf;
        size_t length;

        if (at[0] < 0x80)
                return 1;
        if (at[0] >= 0xc2 && at[0] <= 0xdf) {
                length = 2;
        } else if (at[0] >= 0xe0 && at[0] <= 0xef) {
                length = 3;
                if (at[0] == 0xe0)
                        low = 0xa0; /* below are overlong forms */
                if (at[0] == 0xed)
                        high = 0x9f; /* above are surrogates */
        } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
                length = 4;
                if (at[0] == 0xf0)
                        low = 0x90;
                if (at[0] == 0xf4)
                        high = 0x8f; /* above is past U+10FFFF */
        } else {
                return 0;
        }
        if (left < length || at[1] < low || at[1] > high)
                return 0;
        for (size_t i = 2; i < length; i++)
                if ((at[i] & 0xc0) != 0x80)
                        return 0;
        return length;
}

size_t utf8_valid(const char *text, size_t length)
{
        const unsigned char *bytes = (const unsigned char *)text;
        size_t at = 0;

        while (at < length) {
                uint64_t word;
                if (length - at >= sizeof word) {
                        memcpy(&word, bytes + at, sizeof word);
                        if (!(word & UINT64_C(0x8080808080808080))) {
                                at += sizeof word;
                                continue;
                        }
                }
                size_t step = sequence_length(bytes + at, length - at);
                if (!step)
                        break;
                at += step;
        }
        return at;
}

const char *utf8_clean(struct arena *arena, const char *text)
{
        if (!text)
                return NULL;
        size_t length = strlen(text), good = utf8_valid(text, length);
        if (good == length)
                return text;

        size_t bad = 0;
        for (size_t at = good; at < length; at += utf8_valid(text + at, length - at)) {
                bad++;
                at++;
        }
        char *copy = arena_alloc(arena, length + bad * (REPLACEMENT_SIZE - 1) + 1), *out = copy;
        for (size_t at = 0;;) {
                good = utf8_valid(text + at, length - at);
                memcpy(out, text + at, good);
                out += good;
                at += good;
                if (at == length)
                        break;
                memcpy(out, REPLACEMENT, REPLACEMENT_SIZE);
                out += REPLACEMENT_SIZE;
                at++;
        }
        return copy;
}

/* A string or message pointer after cleaning; the same one when there was nothing to do. */
static const void *clean_pointer(struct arena *arena, const ProtobufCFieldDescriptor *field,
                                 const void *pointer)
{
        if (!pointer || pointer == field->default_value)
                return pointer;
        if (field->type == PROTOBUF_C_TYPE_STRING)
                return utf8_clean(arena, pointer);
        return utf8_clean_message(arena, pointer);
}

/* The array of a repeated field after cleaning; the same one when there was nothing to do. */
static const void **clean_array(struct arena *arena, const ProtobufCFieldDescriptor *field,
                                const void **array, size_t count)
{
        const void **copy = NULL;

        for (size_t i = 0; i < count; i++) {
                const void *cleaned = clean_pointer(arena, field, array[i]);
                if (cleaned == array[i])
                        continue;
                if (!copy)
                        copy = arena_memdup(arena, array, count * sizeof *array);
                copy[i] = cleaned;
        }
        return copy ? copy : array;
}

/* Whether this field is the one that its oneof holds; true for fields outside oneofs. */
static bool is_chosen(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
        if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
                return true;
        const void *chosen = (const char *)message + field->quantifier_offset;
        return *(const uint32_t *)chosen == field->id;
}

const ProtobufCMessage *utf8_clean_message(struct arena *arena, const ProtobufCMessage *message)
{
        const ProtobufCMessageDescriptor *descriptor = message->descriptor;
        ProtobufCMessage *copy = NULL;

        for (unsigned i = 0; i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
                        continue;
                if (!is_chosen(message, field))
                        continue;

                /* Strings, messages and arrays of either are all one pointer. */
                const void *before, *after;
                memcpy(&before, (const char *)message + field->offset, sizeof before);
                if (field->label == PROTOBUF_C_LABEL_REPEATED) {
                        size_t count;
                        memcpy(&count, (const char *)message + field->quantifier_offset,
                               sizeof count);
                        after = clean_array(arena, field, (const void **)before, count);
                } else {
                        after = clean_pointer(arena, field, before);
                }
                if (after == before)
                        continue;
                if (!copy)
                        copy = arena_memdup(arena, message, descriptor->sizeof_message);
                memcpy((char *)copy + field->offset, &after, sizeof after);
        }
        return copy ? copy : message;
}
