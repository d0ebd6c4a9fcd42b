#include "cli/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define MINUTE INT64_C(60)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

const char *text_size(char out[TEXT_VALUE_MAX], uint64_t bytes)
{
        static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
        size_t unit = 0;
        double value = (double)bytes;

        /* What would be printed as 1000 is 1.00 of the next unit. */
        while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
                value /= 1000;
                unit++;
        }
        int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
        snprintf(out, TEXT_VALUE_MAX, "%.*f %s", decimals, value, units[unit]);
        return out;
}

const char *text_span(char out[TEXT_VALUE_MAX], int64_t nanoseconds)
{
        int64_t seconds = nanoseconds > 0 ? nanoseconds / NSEC_PER_SEC : 0;

        if (seconds < 2 * MINUTE)
                snprintf(out, TEXT_VALUE_MAX, "%" PRId64 " s", seconds);
        else if (seconds < 2 * HOUR)
                snprintf(out, TEXT_VALUE_MAX, "%" PRId64 " min", seconds / MINUTE);
        else if (seconds < 2 * DAY)
                snprintf(out, TEXT_VALUE_MAX, "%" PRId64 " h", seconds / HOUR);
        else
                snprintf(out, TEXT_VALUE_MAX, "%" PRId64 " d", seconds / DAY);
        return out;
}

const char *text_short(char out[TEXT_VALUE_MAX], const char *id)
{
        const char *colon = strchr(id, ':');

        snprintf(out, TEXT_VALUE_MAX, "%.*s", TEXT_SHORT_ID, colon ? colon + 1 : id);
        return out;
}

void text_clean(struct buffer *out, const char *text)
{
        const unsigned char *at = (const unsigned char *)text;

        for (; *at; at++) {
                /* C1's control characters are two bytes of UTF-8, and terminals obey them too. */
                if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) {
                        buffer_printf(out, "\\x%02x", at[1]);
                        at++;
                } else if (*at < ' ' || *at == 0x7f) {
                        buffer_printf(out, "\\x%02x", *at);
                } else {
                        buffer_add(out, at, 1);
                }
        }
}

/* Bytes that go on with a character. */
static int continues(char byte)
{
        return ((unsigned char)byte & 0xc0) == 0x80;
}

size_t text_width(const char *text)
{
        size_t width = 0;

        for (; *text; text++)
                if (!continues(*text))
                        width++;
        return width;
}

size_t text_fit(const char *text, size_t columns)
{
        size_t length = 0;

        for (; text[length]; length++)
                if (!continues(text[length]) && columns-- == 0)
                        break;
        return length;
}
