/*
 * text: small text in memory of fixed size, without heap, stdio or locale.
 *
 * printf would pull a quarter of libc into a program of which a hundred run. What does not fit is
 * cut.
 */
#ifndef CRISP_CONMON_TEXT_H
#define CRISP_CONMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
        char *data; /* always followed by a zero byte */
        size_t length;
        size_t size; /* of the memory, with the final zero */
        bool cut;    /* something did not fit */
};

/* An empty text in this memory; size is at least 1. */
struct text text_in(char *memory, size_t size);

void text_add_bytes(struct text *text, const char *bytes, size_t length);
void text_add(struct text *text, const char *string);
void text_add_number(struct text *text, int64_t number);

/* Keeps the last bytes: drops from the front what is in the way of the new ones. */
void text_keep_tail(struct text *text, const char *bytes, size_t length);

/* The whole string as a decimal number without sign; false for anything else, or what is too large.
 */
bool text_parse_number(const char *string, uint64_t *number);

/* "2016-10-06T00:17:09.669794202Z": RFC 3339 with nine digits after the point, in UTC. */
#define TEXT_TIME_LENGTH 30
void text_time(char out[TEXT_TIME_LENGTH], int64_t nanoseconds_since_1970);

#endif
