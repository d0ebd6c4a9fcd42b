/*
 * utf8: text that every client can read.
 *
 * protobuf's strings are UTF-8, and Go refuses a whole reply for one that is not. What comes from
 * image configurations, from the kernel or from programs' output may be anything.
 *
 * Any thread.
 */
#ifndef CRISP_CRI_UTF8_H
#define CRISP_CRI_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

/* How many bytes of the first length ones are whole UTF-8 characters: length when all are. */
size_t utf8_valid(const char *text, size_t length);

/*
 * text itself when it is UTF-8, otherwise a copy in the arena with U+FFFD for each byte that
 * belongs to no character. Null gives null.
 */
const char *utf8_clean(struct arena *arena, const char *text);

/*
 * message itself when all its strings, at any depth, are UTF-8; otherwise a copy in the arena of
 * what had to change, which shares the rest with message. message is not written to. Fields of type
 * bytes stay as they are.
 */
const ProtobufCMessage *utf8_clean_message(struct arena *arena, const ProtobufCMessage *message);

#endif
