/*
 * toml_scalar: the words of a TOML document: strings, numbers, dates. Used by the other files of
 * toml alone.
 */
#ifndef CRISP_BASE_TOML_SCALAR_H
#define CRISP_BASE_TOML_SCALAR_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/toml.h"

/* What is left to read. */
struct toml_cursor {
        const char *at, *end;
        unsigned line;
        const char *file;
        struct error *err;
};

/* Fills err with "FILE:LINE: message"; returns -EINVAL. */
int toml_fail(const struct toml_cursor *cursor, unsigned line, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* What stands at the cursor, for errors: a quoted character, its code, or "the end of the file".
 * From a static or out. */
const char *toml_describe(const struct toml_cursor *cursor, char out[16]);

/* Whether the cursor stands before exactly this text. */
bool toml_at(const struct toml_cursor *cursor, const char *text);

/* Takes a line feed, with a carriage return before it or not; false when there is none. */
bool toml_take_newline(struct toml_cursor *cursor);

/* Whether a character may stand in comments and strings: no control character but the tab. */
bool toml_is_text(char c);

/* Whether a character may stand in a key without quotes. */
bool toml_is_bare(char c);

/* Takes the string that begins at the cursor, at a quote, into out. multiline: whether """ and '''
 * are allowed. */
int toml_take_string(struct toml_cursor *cursor, bool multiline, struct buffer *out);

/* Takes a number, boolean, date or time. A new reference in *value. */
int toml_take_scalar(struct toml_cursor *cursor, enum toml_kind *kind, json_t **value);

#endif
