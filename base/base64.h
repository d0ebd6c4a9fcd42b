/*
 * base64: bytes as text, with the standard alphabet and padding (RFC 4648, section 4).
 *
 * Pure; any thread.
 */
#ifndef CRISP_BASE_BASE64_H
#define CRISP_BASE_BASE64_H

#include <stddef.h>

#include "base/buffer.h"

/* The text, on the heap. */
char *base64_write(const void *bytes, size_t length);

/*
 * Adds the bytes that text stands for. 0, or -EINVAL for what is not base64 to the letter: another
 * character, wrong padding, bits left over. Then some bytes may have been added.
 */
int base64_read(const char *text, struct buffer *bytes);

#endif
