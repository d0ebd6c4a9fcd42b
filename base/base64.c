#include "base/base64.h"

#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"

#define GROUP 4 /* characters for three bytes */

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char URL_ALPHABET[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* length characters without padding. What is given up is overwritten: it may be part of a secret.
 */
static unsigned char *decode(const char *text, size_t length, const char *alphabet, size_t *count)
{
        unsigned char *bytes = xcalloc(length / GROUP * 3 + 3, 1);
        unsigned value = 0, bits = 0;
        size_t made = 0;
        bool good = length % GROUP != 1;

        for (size_t i = 0; i < length && good; i++) {
                const char *digit = memchr(alphabet, text[i], sizeof(ALPHABET) - 1);
                if (!digit) {
                        good = false;
                        break;
                }
                value = (value << 6 | (unsigned)(digit - alphabet)) & 0xffff;
                bits += 6;
                if (bits >= 8) {
                        bits -= 8;
                        bytes[made++] = (unsigned char)(value >> bits & 0xff);
                }
        }
        if (!good || value & ((1U << bits) - 1)) {
                explicit_bzero(bytes, made);
                free(bytes);
                return NULL;
        }
        *count = made;
        return bytes;
}

unsigned char *base64_decode(const char *text, size_t length, size_t *count)
{
        size_t padding = 0;
        if (length % GROUP != 0)
                return NULL;
        while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
                padding++;
        return decode(text, length - padding, ALPHABET, count);
}

unsigned char *base64_decode_url(const char *text, size_t length, size_t *count)
{
        return decode(text, length, URL_ALPHABET, count);
}

char *base64_encode(const void *bytes, size_t length)
{
        const unsigned char *from = bytes;
        char *text = xcalloc((length + 2) / 3 * GROUP + 1, 1);
        char *out = text;
        for (size_t i = 0; i < length; i += 3) {
                unsigned value = 0;
                for (size_t k = 0; k < 3; k++)
                        value = value << 8 | (i + k < length ? from[i + k] : 0U);
                for (size_t k = 0; k < GROUP; k++)
                        *out++ = i + k > length ? '=' : ALPHABET[value >> (18 - 6 * k) & 63];
        }
        return text;
}
