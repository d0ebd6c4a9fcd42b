#include "base/base64.h"

#include <errno.h>
#include <string.h>

#include "base/memory.h"

#define GROUP 4 /* characters for three bytes */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_write(const void *bytes, size_t length)
{
        const unsigned char *from = bytes;
        char *text = xcalloc((length + 2) / 3 * GROUP + 1, 1);
        char *out = text;
        for (size_t i = 0; i < length; i += 3) {
                unsigned value = 0;
                for (size_t k = 0; k < 3; k++)
                        value = value << 8 | (i + k < length ? from[i + k] : 0U);
                for (size_t k = 0; k < GROUP; k++)
                        *out++ = i + k > length ? '=' : alphabet[value >> (18 - 6 * k) & 63];
        }
        return text;
}

/* Digits before the padding, which must fill the last group. -1 where it does not. */
static ptrdiff_t digits(const char *text)
{
        size_t length = strlen(text), padding = 0;
        if (length % GROUP != 0)
                return -1;
        while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
                padding++;
        return (ptrdiff_t)(length - padding);
}

int base64_read(const char *text, struct buffer *bytes)
{
        ptrdiff_t count = digits(text);
        unsigned value = 0, bits = 0;
        if (count < 0)
                return -EINVAL;
        for (ptrdiff_t i = 0; i < count; i++) {
                const char *digit = memchr(alphabet, text[i], sizeof(alphabet) - 1);
                if (!digit)
                        return -EINVAL;
                value = (value << 6 | (unsigned)(digit - alphabet)) & 0xffff;
                bits += 6;
                if (bits >= 8) {
                        bits -= 8;
                        char byte = (char)(value >> bits & 0xff);
                        buffer_add(bytes, &byte, 1);
                }
        }
        return value & ((1U << bits) - 1) ? -EINVAL : 0;
}
