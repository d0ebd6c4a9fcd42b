/*
 * wire: what the decoder of protobuf-c does not tell.
 */
#ifndef CRISP_CRI_WIRE_H
#define CRISP_CRI_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"

#define WIRE_DEPTH_MAX 32 /* messages within messages */

/*
 * A string of protobuf may hold a zero byte, and protobuf-c gives it as a C string that ends there:
 * "/safe\0/../etc" would be another path to us than to whoever checked it before. INVALID_ARGUMENT
 * naming the field for such a string anywhere in a message that protobuf-c has decoded. Pure; any
 * thread.
 */
int wire_check_strings(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes,
                       size_t length, struct error *err);

#endif
