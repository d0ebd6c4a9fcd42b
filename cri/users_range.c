#include "cri/users_range.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 256
#define DIGITS_MAX     10

/* A number of at most ten digits; its end, or null. */
static const char *number(const char *text, uint64_t *value)
{
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > DIGITS_MAX)
                return NULL;
        *value = 0;
        for (size_t i = 0; i < digits; i++)
                *value = *value * 10 + (uint64_t)(text[i] - '0');
        return text + digits;
}

static bool parse(const char *text, struct users_range *range)
{
        struct users_range read;
        const char *end = number(text, &read.first);
        end = end && *end == ':' ? number(end + 1, &read.length) : NULL;
        if (!end || *end || read.length == 0 || read.first + read.length > UINT32_MAX)
                return false;
        *range = read;
        return true;
}

int users_range_parse(const char *text, struct users_range *range, struct error *err)
{
        return parse(text, range) ? 0
                                  : error_set(err, ERROR_INVALID_ARGUMENT,
                                              "\"%.60s\" is not FIRST:LENGTH", text);
}

size_t users_range_of(const char *text, const char *name, struct users_range *ranges, size_t max)
{
        size_t count = 0, length = strlen(name);
        while (*text && count < max) {
                size_t size = strcspn(text, "\n");
                char line[LINE_MAX_BYTES];
                if (size > length && size < sizeof line && strncmp(text, name, length) == 0 &&
                    text[length] == ':') {
                        snprintf(line, sizeof line, "%.*s", (int)(size - length - 1),
                                 text + length + 1);
                        count += parse(line, &ranges[count]);
                }
                text += size + (text[size] == '\n');
        }
        return count;
}

/* Where a taken range that overlaps ends; 0 where none does. */
static uint64_t end_of_overlap(const struct users_range *taken, size_t count, uint64_t first,
                               uint64_t length)
{
        for (size_t i = 0; i < count; i++)
                if (first < taken[i].first + taken[i].length && taken[i].first < first + length)
                        return taken[i].first + taken[i].length;
        return 0;
}

int users_range_find(const struct users_range *ranges, size_t count,
                     const struct users_range *taken, size_t taken_count, uint32_t length,
                     uint32_t *first, struct error *err)
{
        for (size_t i = 0; i < count; i++) {
                uint64_t at = ranges[i].first, end = ranges[i].first + ranges[i].length, next;
                while (at + length <= end &&
                       (next = end_of_overlap(taken, taken_count, at, length)) > 0)
                        at = next;
                if (at + length <= end) {
                        *first = (uint32_t)at;
                        return 0;
                }
        }
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "no %" PRIu32 " IDs are free in the node's %zu ranges for pods", length,
                         count);
}
