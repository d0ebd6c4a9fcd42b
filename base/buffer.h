/*
 * buffer: bytes that grow at their end.
 *
 * Initialize with BUFFER_INIT or zeroes. data is always followed by a zero byte once something was
 * added, so that text can be read as a string.
 */
#ifndef CRISP_BASE_BUFFER_H
#define CRISP_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct buffer {
        char *data; /* owned; null while nothing was added */
        size_t length;
        size_t capacity;
};

#define BUFFER_INIT                                                                                \
        {                                                                                          \
                0                                                                                  \
        }

void buffer_add(struct buffer *buffer, const void *bytes, size_t length);
void buffer_add_text(struct buffer *buffer, const char *text);
void buffer_printf(struct buffer *buffer, const char *format, ...)
        __attribute__((format(printf, 2, 3), nonnull(2)));
/* Makes room for length more bytes and returns where they go; add to length what was written. */
char *buffer_reserve(struct buffer *buffer, size_t length);
/* Drops the first count bytes. */
void buffer_consume(struct buffer *buffer, size_t count);
/* Gives the bytes away as a heap string (never null); the buffer is empty afterwards. */
char *buffer_take(struct buffer *buffer);
void buffer_fini(struct buffer *buffer);

#define AUTO_BUFFER CLEANUP(buffer_fini)

#endif
