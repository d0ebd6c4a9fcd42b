/*
 * text: values as people read them.
 *
 * Pure functions. What a stranger may have chosen goes through text_clean before it reaches a
 * terminal.
 */
#ifndef CRISP_CLI_TEXT_H
#define CRISP_CLI_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

#define TEXT_VALUE_MAX 24 /* bytes of a size, age or short ID with the final zero */
#define TEXT_SHORT_ID  12 /* digits */

/* Bytes with a decimal unit and three digits: "999 B", "1.23 kB", "45.6 MB". Returns out. */
const char *text_size(char out[TEXT_VALUE_MAX], uint64_t bytes);

/* A time span in ns with its largest unit: "3 s", "5 min", "2 h", "40 d"; "0 s" for a negative one.
 * Returns out. */
const char *text_span(char out[TEXT_VALUE_MAX], int64_t nanoseconds);

/* The first digits of an ID or digest, without "sha256:". Returns out. */
const char *text_short(char out[TEXT_VALUE_MAX], const char *id);

/* Adds text (UTF-8) with each control character as \xNN, so that it stays on its line and tells the
 * terminal nothing. */
void text_clean(struct buffer *out, const char *text);

/* The columns that a text of UTF-8 takes: one for each character. */
size_t text_width(const char *text);

/* Bytes of the longest beginning of text that takes at most this many columns. */
size_t text_fit(const char *text, size_t columns);

#endif
