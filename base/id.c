#include "base/id.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

#define CHUNK_BYTES                                                                                \
        64 /* getrandom(2) fills up to 256 bytes whole, without being interrupted halfway */

static void fill_random(uint8_t *bytes, size_t count)
{
        /* Without randomness two objects could get one name; nothing sensible can go on then. */
        for (;;) {
                ssize_t got = getrandom(bytes, count, 0);

                if (got == (ssize_t)count)
                        return;
                if (got < 0 && errno != EINTR)
                        abort();
        }
}

void id_random_hex(char *out, size_t length)
{
        static const char digits[] = "0123456789abcdef";
        uint8_t bytes[CHUNK_BYTES];

        for (size_t i = 0; i < length; i++) {
                size_t at = i / 2 % CHUNK_BYTES;

                if (at == 0 && i % 2 == 0) {
                        size_t need = (length - i + 1) / 2;

                        fill_random(bytes, need < CHUNK_BYTES ? need : CHUNK_BYTES);
                }
                out[i] = digits[i % 2 ? bytes[at] & 15 : bytes[at] >> 4];
        }
        out[length] = '\0';
}

void id_generate(char out[ID_LENGTH + 1])
{
        id_random_hex(out, ID_LENGTH);
}

bool id_is_hex(const char *text)
{
        size_t length = 0;

        for (; text[length] != '\0'; length++) {
                char c = text[length];

                if (length == ID_LENGTH || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
                        return false;
        }
        return length > 0;
}
