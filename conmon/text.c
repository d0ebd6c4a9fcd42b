#include "conmon/text.h"

#include <string.h>

#include "conmon/clock.h"

struct text text_in(char *memory, size_t size)
{
        memory[0] = 0;
        return (struct text){.data = memory, .size = size};
}

void text_add_bytes(struct text *text, const char *bytes, size_t length)
{
        size_t room = text->size - 1 - text->length;

        if (length > room) {
                length = room;
                text->cut = true;
        }
        memcpy(text->data + text->length, bytes, length);
        text->length += length;
        text->data[text->length] = 0;
}

void text_add(struct text *text, const char *string)
{
        text_add_bytes(text, string, strlen(string));
}

void text_add_number(struct text *text, int64_t number)
{
        char digits[20];
        size_t at = sizeof(digits);
        uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;

        do {
                digits[--at] = (char)('0' + rest % 10);
                rest /= 10;
        } while (rest);
        if (number < 0)
                text_add_bytes(text, "-", 1);
        text_add_bytes(text, digits + at, sizeof(digits) - at);
}

void text_keep_tail(struct text *text, const char *bytes, size_t length)
{
        size_t room = text->size - 1;

        if (length > room) {
                bytes += length - room;
                length = room;
                text->cut = true;
        }
        if (text->length + length > room) {
                size_t drop = text->length + length - room;

                memmove(text->data, text->data + drop, text->length - drop);
                text->length -= drop;
                text->cut = true;
        }
        memcpy(text->data + text->length, bytes, length);
        text->length += length;
        text->data[text->length] = 0;
}

bool text_parse_number(const char *string, uint64_t *number)
{
        uint64_t value = 0;

        if (!*string)
                return false;
        for (; *string; string++) {
                if (*string < '0' || *string > '9' || __builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (unsigned)(*string - '0'), &value))
                        return false;
        }
        *number = value;
        return true;
}

static void digits(char *out, unsigned count, uint64_t number)
{
        while (count) {
                out[--count] = (char)('0' + number % 10);
                number /= 10;
        }
}

void text_time(char out[TEXT_TIME_LENGTH], int64_t nanoseconds_since_1970)
{
        /* gmtime_r would bring in time zones. Years begin in March here, so that the leap day comes
         * last. */
        enum { DAYS_IN_400_YEARS = 146097, DAYS_TO_1970 = 719468 };
        uint64_t nanoseconds = nanoseconds_since_1970 > 0 ? (uint64_t)nanoseconds_since_1970 : 0;
        uint64_t seconds = nanoseconds / NANOSECONDS;
        uint64_t days = seconds / 86400 + DAYS_TO_1970;
        uint64_t day = days % DAYS_IN_400_YEARS;
        uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
        uint64_t month;

        day -= 365 * year + year / 4 - year / 100;
        month = (5 * day + 2) / 153;
        day -= (153 * month + 2) / 5;
        month = month < 10 ? month + 3 : month - 9;
        year += days / DAYS_IN_400_YEARS * 400 + (month <= 2);

        memcpy(out, "0000-00-00T00:00:00.000000000Z", TEXT_TIME_LENGTH);
        digits(out, 4, year);
        digits(out + 5, 2, month);
        digits(out + 8, 2, day + 1);
        digits(out + 11, 2, seconds / 3600 % 24);
        digits(out + 14, 2, seconds / 60 % 60);
        digits(out + 17, 2, seconds % 60);
        digits(out + 20, 9, nanoseconds % NANOSECONDS);
}
