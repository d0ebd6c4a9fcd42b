/*
 * base64: bytes as text (RFC 4648). Pure; any thread.
 */
#ifndef CRISP_BASE_BASE64_H
#define CRISP_BASE_BASE64_H

#include <stddef.h>

/*
 * The bytes (section 4) that length characters of text stand for, on the heap and followed by a
 * zero byte; *count gets their number. Null for what is not base64 to the letter: another
 * character, wrong padding, bits left over.
 */
unsigned char *base64_decode(const char *text, size_t length, size_t *count);

/* The same for the alphabet of URLs without padding (section 5), as JOSE has it. */
unsigned char *base64_decode_url(const char *text, size_t length, size_t *count);

/* The text, on the heap. */
char *base64_encode(const void *bytes, size_t length);

#endif
