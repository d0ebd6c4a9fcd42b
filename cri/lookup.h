/*
 * lookup: finding what a client names, and what a filter selects.
 */
#ifndef CRISP_CRI_LOOKUP_H
#define CRISP_CRI_LOOKUP_H

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"
#include "base/table.h"

/* An entry of any of the protocol's maps from string to string: protoc-c gives each a type, all of
 * one shape. */
struct lookup_entry {
        ProtobufCMessage base;
        char *key;
        char *value;
};

/*
 * Finds an object by its id or by a prefix that only it has, among those that is_known accepts.
 * kind ("container") is for errors: NOT_FOUND, INVALID_ARGUMENT for an ambiguous one and, naming
 * the field, for an empty one.
 */
int lookup_id(const struct table *table, const char *kind, const char *field, const char *id,
              bool (*is_known)(const void *object), void **object, struct error *err);

/* Whether id is the filter's, or begins with it; an empty filter takes all. */
bool lookup_id_matches(const char *id, const char *filter);

/* Whether all of the selector's labels are among these, with the same values. */
bool lookup_labels_match(void *labels, size_t count, void *selector, size_t selector_count);

/* The value of a key in a map, or null. */
const char *lookup_value(void *entries, size_t count, const char *key);

#endif
