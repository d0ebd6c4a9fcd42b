/*
 * json: reading jansson's values with errors that name the place.
 *
 * The getters take an object and a key; place is a word for errors ("manifest"). An absent or null
 * member gives the fallback and success; a member of another type is INVALID_ARGUMENT "manifest:
 * layers: expected an array". Strings are borrowed from the object.
 */
#ifndef CRISP_BASE_JSON_H
#define CRISP_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define JSON_DEPTH_MAX 64 /* nesting; bounds the parser's recursion on a task's small stack */

/* Parses bytes; nesting past JSON_DEPTH_MAX and duplicate keys are refused. A new reference in
 * *value. */
int json_parse(const char *bytes, size_t length, const char *place, json_t **value,
               struct error *err);

int json_get_string(const json_t *object, const char *key, const char *place, const char **value,
                    struct error *err);
int json_get_int(const json_t *object, const char *key, const char *place, int64_t *value,
                 struct error *err);
int json_get_bool(const json_t *object, const char *key, const char *place, bool *value,
                  struct error *err);
/* *value is null when absent. */
int json_get_object(const json_t *object, const char *key, const char *place, json_t **value,
                    struct error *err);
int json_get_array(const json_t *object, const char *key, const char *place, json_t **value,
                   struct error *err);
/* An array of strings as a null-terminated vector on the heap (strv_free); null when absent. */
int json_get_strings(const json_t *object, const char *key, const char *place, char ***value,
                     struct error *err);

/* The value as text on the heap; compact, keys in the order of insertion. */
char *json_text(const json_t *value);

static inline void cleanup_json(json_t **value)
{
        json_decref(*value);
}
#define AUTO_JSON CLEANUP(cleanup_json)

#endif
