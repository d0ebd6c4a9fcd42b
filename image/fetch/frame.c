#include "image/fetch/frame.h"

#include <string.h>

#define MAGIC_SIZE          4
#define SINGLE_SEGMENT      0x20 /* no window but the whole content */
#define WINDOW_LOG_MIN      10
#define CONTENT_SIZE_OFFSET 256 /* of the field of two bytes */

static bool is_frame(const unsigned char *magic)
{
        return memcmp(magic, "\x28\xb5\x2f\xfd", MAGIC_SIZE) == 0;
}

bool frame_begins(const unsigned char *magic)
{
        return is_frame(magic) ||
               ((magic[0] & 0xf0) == 0x50 && memcmp(magic + 1, "\x2a\x4d\x18", 3) == 0);
}

bool frame_window(const unsigned char *bytes, size_t count, uint64_t *window)
{
        static const size_t dictionary_sizes[] = {0, 1, 2, 4};
        static const size_t content_sizes[] = {1, 2, 4, 8};

        *window = 0;
        if (count < MAGIC_SIZE)
                return false;
        if (!is_frame(bytes))
                return true;
        if (count < MAGIC_SIZE + 2)
                return false;
        unsigned descriptor = bytes[MAGIC_SIZE];
        if (!(descriptor & SINGLE_SEGMENT)) {
                unsigned exponent = bytes[MAGIC_SIZE + 1] >> 3;
                unsigned mantissa = bytes[MAGIC_SIZE + 1] & 7;
                uint64_t base = UINT64_C(1) << (WINDOW_LOG_MIN + exponent);
                *window = base + base / 8 * mantissa;
                return true;
        }
        size_t at = MAGIC_SIZE + 1 + dictionary_sizes[descriptor & 3];
        size_t size = content_sizes[descriptor >> 6];
        if (count < at + size)
                return false;
        uint64_t content = 0;
        for (size_t i = size; i > 0; i--)
                content = content << 8 | bytes[at + i - 1];
        *window = size == 2 ? content + CONTENT_SIZE_OFFSET : content;
        return true;
}
