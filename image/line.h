/*
 * line: members of the lines of JSON that the daemon and crisp-image exchange.
 *
 * File names are bytes and JSON is UTF-8: in a path what is not plain ASCII is written as %XX.
 * Reading functions leave what is absent as it was; what has the wrong type is INVALID_ARGUMENT,
 * with place and key. Strings they give live in the arena. Pure; any thread.
 */
#ifndef CRISP_IMAGE_LINE_H
#define CRISP_IMAGE_LINE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

/* ---- writing ---- */

void line_put_string(json_t *object, const char *key, const char *value); /* null: nothing */
void line_put_integer(json_t *object, const char *key, int64_t value);
void line_put_strings(json_t *object, const char *key, const char *const *list, size_t count);
void line_put_paths(json_t *object, const char *key, const char *const *paths, size_t count);
json_t *line_path_to_json(const char *path);

/* The object as a line with its newline, on the heap. */
char *line_finish(json_t *object);

/* ---- reading ---- */

int line_get_text(const json_t *object, const char *key, const char *place, struct arena *arena,
                  const char **value, struct error *err);
/* The same where the member must be there. */
int line_need_text(const json_t *object, const char *key, const char *place, struct arena *arena,
                   const char **value, struct error *err);
/* A number that is not negative. */
int line_get_size(const json_t *object, const char *key, const char *place, int64_t *value,
                  struct error *err);
/* An array of at most max members, borrowed from object; *count is 0 when absent. */
int line_get_list(const json_t *object, const char *key, const char *place, size_t max,
                  json_t **array, size_t *count, struct error *err);
int line_get_strings(const json_t *object, const char *key, const char *place, size_t max,
                     struct arena *arena, const char *const **list, size_t *count,
                     struct error *err);
int line_get_paths(const json_t *object, const char *key, const char *place, struct arena *arena,
                   const char *const **paths, size_t *count, struct error *err);
int line_path_from_json(const json_t *value, struct arena *arena, const char **path,
                        struct error *err);

#endif
