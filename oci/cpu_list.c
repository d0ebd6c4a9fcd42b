#include "oci/cpu_list.h"

#include <string.h>

#include "base/buffer.h"

#define WORDS         (CPU_LIST_MAX / 64)
#define DIGITS_MAX    (CPU_LIST_MAX / 4)
#define GROUP_DIGITS  8
#define TEXT_IN_ERROR 100

bool cpu_list_has(const struct cpu_list *cpus, size_t cpu)
{
        return cpu < CPU_LIST_MAX && (cpus->words[cpu / 64] >> cpu % 64 & 1);
}

void cpu_list_add(struct cpu_list *cpus, size_t cpu)
{
        if (cpu < CPU_LIST_MAX)
                cpus->words[cpu / 64] |= UINT64_C(1) << cpu % 64;
}

size_t cpu_list_count(const struct cpu_list *cpus)
{
        size_t count = 0;
        for (size_t i = 0; i < WORDS; i++)
                count += (size_t)__builtin_popcountll(cpus->words[i]);
        return count;
}

size_t cpu_list_next(const struct cpu_list *cpus, size_t from)
{
        while (from < CPU_LIST_MAX && !cpu_list_has(cpus, from))
                from++;
        return from;
}

bool cpu_list_equal(const struct cpu_list *a, const struct cpu_list *b)
{
        return memcmp(a, b, sizeof *a) == 0;
}

void cpu_list_join(struct cpu_list *cpus, const struct cpu_list *other)
{
        for (size_t i = 0; i < WORDS; i++)
                cpus->words[i] |= other->words[i];
}

void cpu_list_remove(struct cpu_list *cpus, const struct cpu_list *other)
{
        for (size_t i = 0; i < WORDS; i++)
                cpus->words[i] &= ~other->words[i];
}

void cpu_list_common(struct cpu_list *cpus, const struct cpu_list *other)
{
        for (size_t i = 0; i < WORDS; i++)
                cpus->words[i] &= other->words[i];
}

static int no_list(const char *text, struct error *err)
{
        return error_set(err, ERROR_INVALID_ARGUMENT,
                         "\"%.*s\" is no list of processors such as 0-3,8", TEXT_IN_ERROR, text);
}

/* A number below CPU_LIST_MAX; false where there is none. */
static bool read_number(const char **text, size_t *number)
{
        const char *at = *text;
        size_t value = 0;
        if (*at < '0' || *at > '9')
                return false;
        for (; *at >= '0' && *at <= '9'; at++) {
                value = value * 10 + (size_t)(*at - '0');
                if (value >= CPU_LIST_MAX)
                        return false;
        }
        *text = at;
        *number = value;
        return true;
}

int cpu_list_parse(const char *text, struct cpu_list *cpus, struct error *err)
{
        struct cpu_list found = {0};
        const char *at = text;
        if (strnlen(text, CPU_LIST_TEXT_MAX + 1) > CPU_LIST_TEXT_MAX)
                return no_list(text, err);
        while (*at && *at != '\n') {
                size_t first, last;
                if (!read_number(&at, &first))
                        return no_list(text, err);
                last = first;
                if (*at == '-') {
                        at++;
                        if (!read_number(&at, &last) || last < first)
                                return no_list(text, err);
                }
                for (size_t cpu = first; cpu <= last; cpu++)
                        cpu_list_add(&found, cpu);
                if (*at == ',' && at[1] && at[1] != '\n')
                        at++;
                else if (*at && *at != '\n')
                        return no_list(text, err);
        }
        if (*at == '\n' && at[1])
                return no_list(text, err);
        *cpus = found;
        return 0;
}

static int digit_value(char digit)
{
        if (digit >= '0' && digit <= '9')
                return digit - '0';
        if (digit >= 'a' && digit <= 'f')
                return digit - 'a' + 10;
        if (digit >= 'A' && digit <= 'F')
                return digit - 'A' + 10;
        return -1;
}

static size_t mask_length(const char *mask)
{
        return strcspn(mask, "\n");
}

size_t cpu_list_mask_width(const char *mask)
{
        size_t digits = 0;
        for (size_t i = 0; i < mask_length(mask); i++)
                digits += digit_value(mask[i]) >= 0;
        return digits * 4;
}

int cpu_list_parse_mask(const char *text, struct cpu_list *cpus, struct error *err)
{
        struct cpu_list found = {0};
        size_t digits = 0;
        for (size_t i = mask_length(text); i > 0; i--) {
                int value = digit_value(text[i - 1]);
                if (value < 0 && text[i - 1] == ',')
                        continue;
                if (value < 0 || (digits >= DIGITS_MAX && value > 0))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "\"%.*s\" is no mask of processors", TEXT_IN_ERROR, text);
                if (digits < DIGITS_MAX)
                        found.words[digits / 16] |= (uint64_t)value << digits % 16 * 4;
                digits++;
        }
        if (digits == 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "an empty mask of processors");
        *cpus = found;
        return 0;
}

char *cpu_list_text(const struct cpu_list *cpus)
{
        struct buffer out = BUFFER_INIT;
        for (size_t first = cpu_list_next(cpus, 0); first < CPU_LIST_MAX;) {
                size_t last = first;
                while (cpu_list_has(cpus, last + 1))
                        last++;
                buffer_printf(&out, "%s%zu", out.length ? "," : "", first);
                if (last > first)
                        buffer_printf(&out, "-%zu", last);
                first = cpu_list_next(cpus, last + 1);
        }
        return buffer_take(&out);
}

char *cpu_list_mask(const struct cpu_list *cpus, size_t width)
{
        static const char digits[] = "0123456789abcdef";
        struct buffer out = BUFFER_INIT;
        if (width < 4)
                width = 4;
        if (width > CPU_LIST_MAX)
                width = CPU_LIST_MAX;
        for (size_t i = (width + 3) / 4; i > 0; i--) {
                size_t at = i - 1;
                buffer_printf(&out, "%c", digits[cpus->words[at / 16] >> at % 16 * 4 & 15]);
                if (at > 0 && at % GROUP_DIGITS == 0)
                        buffer_add_text(&out, ",");
        }
        return buffer_take(&out);
}
