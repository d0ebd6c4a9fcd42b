/*
 * status_text: the "info" that verbose status calls give: JSON for people and for crictl inspect.
 */
#ifndef CRISP_CRI_STATUS_TEXT_H
#define CRISP_CRI_STATUS_TEXT_H

#include <jansson.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"

/* An entry of a map from strings to strings, key with the JSON of value; descriptor is the entry's.
 */
void *status_text_entry(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
                        const char *key, const json_t *value);

/* One map entry "info" of the given entry type, in a vector of one; all in the arena. */
void *status_text_info(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
                       const json_t *info);

/* Adds what is being done and since when ("step", "stepSince"), where something is. since: real
 * time, ns. */
void status_text_add_step(json_t *info, const char *step, int64_t since);

#endif
