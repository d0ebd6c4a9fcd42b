#include "image/fetch/base64.h"

#include <limits.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/memory.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

unsigned char *base64_decode(const char *text, size_t length, size_t *count)
{
        if (length % 4 != 0 || length > INT_MAX / 2)
                return NULL;

        AUTO_FREE unsigned char *bytes = xcalloc(1, length / 4 * 3 + 1);
        size_t padding = 0;
        while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
                padding++;
        /* libcrypto skips white space at the ends and padding wherever it stands. */
        for (size_t i = 0; i < length - padding; i++)
                if (!strchr(ALPHABET, text[i]) || !text[i])
                        return NULL;
        int decoded = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length);
        if (decoded < 0 || (size_t)decoded < padding)
                return NULL;
        *count = (size_t)decoded - padding;
        bytes[*count] = '\0';
        return take_ptr(bytes);
}

unsigned char *base64_decode_url(const char *text, size_t length, size_t *count)
{
        static const char PADDING[] = "==";
        AUTO_BUFFER struct buffer plain = BUFFER_INIT;

        for (size_t i = 0; i < length; i++) {
                if (text[i] == '+' || text[i] == '/' || text[i] == '=')
                        return NULL;
                char c = (char)(text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
                buffer_add(&plain, &c, 1);
        }
        buffer_add(&plain, PADDING, (4 - length % 4) % 4 % 3);
        unsigned char *bytes = base64_decode(plain.data ? plain.data : "", plain.length, count);
        if (plain.data)
                explicit_bzero(plain.data, plain.length);
        return bytes;
}

char *base64_encode(const void *bytes, size_t length)
{
        char *text = xcalloc(1, (length + 2) / 3 * 4 + 1);
        EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);
        return text;
}
