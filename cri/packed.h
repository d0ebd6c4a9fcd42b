/*
 * packed: messages that are packed once and sent often.
 *
 * A packed message becomes a field of another one as it is: protobuf-c passes fields that it does
 * not know on untouched, so they are put there as unknown ones. Pure; any thread.
 */
#ifndef CRISP_CRI_PACKED_H
#define CRISP_CRI_PACKED_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

/* The message with its length before it, as a field's value goes over the wire: *size bytes on the
 * heap. Strings that are not UTF-8 are mended. */
uint8_t *packed_message(const ProtobufCMessage *message, size_t *size);

/* Such bytes as the field of this number; borrowed. */
ProtobufCMessageUnknownField packed_field(uint32_t number, const uint8_t *bytes, size_t size);

#endif
