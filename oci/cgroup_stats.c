#include "oci/cgroup_stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NSEC_OF_USEC 1000

/* What v1 shows as no limit is the greatest number of pages: anything from here on. */
#define V1_UNLIMITED (UINT64_C(1) << 62)

/* ---- words and lines ---- */

static uint64_t saturating(uint64_t value, uint64_t factor)
{
        uint64_t product;
        return __builtin_mul_overflow(value, factor, &product) ? UINT64_MAX : product;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
        uint64_t total;
        return __builtin_add_overflow(a, b, &total) ? UINT64_MAX : total;
}

/* Digits at the start of text; *end is behind them. */
static bool read_digits(const char *text, const char **end, uint64_t *value)
{
        if (*text < '0' || *text > '9')
                return false;
        char *stop;
        errno = 0;
        unsigned long long number = strtoull(text, &stop, 10);
        if (errno)
                return false;
        *end = stop;
        *value = number;
        return true;
}

static const char *next_line(const char *line)
{
        const char *feed = strchr(line, '\n');
        return feed ? feed + 1 : line + strlen(line);
}

bool cgroup_parse_number(const char *text, uint64_t *value)
{
        const char *end;
        uint64_t number = CGROUP_UNLIMITED;
        if (strncmp(text, "max", 3) == 0)
                end = text + 3;
        else if (!read_digits(text, &end, &number))
                return false;
        if (*end && *end != '\n')
                return false;
        *value = number;
        return true;
}

bool cgroup_parse_key(const char *text, const char *key, uint64_t *value)
{
        size_t length = strlen(key);
        for (const char *line = text; *line; line = next_line(line))
                if (strncmp(line, key, length) == 0 && line[length] == ' ')
                        return cgroup_parse_number(line + length + 1, value);
        return false;
}

/* A key of a file of many lines, and where its value goes. */
struct key {
        const char *name;
        uint64_t *value;
};

/* One pass for all of them: memory.stat has sixty lines, and is read for every container. */
static void read_keys(const char *text, const struct key *keys, size_t count)
{
        for (const char *line = text; *line; line = next_line(line)) {
                size_t length = strcspn(line, " \n");
                if (line[length] != ' ')
                        continue;
                for (size_t i = 0; i < count; i++) {
                        if (strncmp(keys[i].name, line, length) != 0 || keys[i].name[length])
                                continue;
                        const char *end;
                        uint64_t value;
                        if (read_digits(line + length + 1, &end, &value))
                                *keys[i].value = value;
                        break;
                }
        }
}

#define READ_KEYS(text, keys) read_keys(text, keys, sizeof(keys) / sizeof(*(keys)))

/* ---- memory ---- */

uint64_t cgroup_working_set(const struct cgroup_stats *stats)
{
        return stats->memory_usage > stats->memory_inactive_file
                       ? stats->memory_usage - stats->memory_inactive_file
                       : 0;
}

void cgroup_parse_memory_v1(const char *text, struct cgroup_stats *stats)
{
        /* With what is below: a command in a container may have a cgroup of its own there. */
        const struct key keys[] = {
                {"total_inactive_file", &stats->memory_inactive_file},
                {"total_active_file", &stats->memory_active_file},
                {"total_rss", &stats->memory_rss},
                {"total_cache", &stats->memory_cache},
                {"total_mapped_file", &stats->memory_mapped_file},
                {"total_pgfault", &stats->page_faults},
                {"total_pgmajfault", &stats->major_page_faults},
                {"total_swap", &stats->swap_usage},
        };
        READ_KEYS(text, keys);
}

void cgroup_parse_memory_v2(const char *text, struct cgroup_stats *stats)
{
        const struct key keys[] = {
                {"anon", &stats->memory_rss},
                {"file", &stats->memory_cache},
                {"kernel", &stats->memory_kernel},
                {"file_mapped", &stats->memory_mapped_file},
                {"inactive_file", &stats->memory_inactive_file},
                {"active_file", &stats->memory_active_file},
                {"pgfault", &stats->page_faults},
                {"pgmajfault", &stats->major_page_faults},
        };
        READ_KEYS(text, keys);
}

uint64_t cgroup_limit_v1(uint64_t value)
{
        return value >= V1_UNLIMITED ? CGROUP_UNLIMITED : value;
}

/* ---- processor ---- */

void cgroup_parse_cpu_v2(const char *text, uint64_t *usage, struct cgroup_detail *detail)
{
        uint64_t all = 0, user = 0, kernel = 0, periods = 0, throttled_periods = 0, throttled = 0;
        const struct key keys[] = {
                {"usage_usec", &all},
                {"user_usec", &user},
                {"system_usec", &kernel},
                {"nr_periods", &periods},
                {"nr_throttled", &throttled_periods},
                {"throttled_usec", &throttled},
        };
        READ_KEYS(text, keys);
        *usage = saturating(all, NSEC_OF_USEC);
        if (!detail)
                return;
        detail->cpu_user = saturating(user, NSEC_OF_USEC);
        detail->cpu_system = saturating(kernel, NSEC_OF_USEC);
        detail->periods = periods;
        detail->throttled_periods = throttled_periods;
        detail->throttled = saturating(throttled, NSEC_OF_USEC);
}

void cgroup_parse_cpu_v1(const char *text, struct cgroup_detail *detail)
{
        const struct key keys[] = {
                {"nr_periods", &detail->periods},
                {"nr_throttled", &detail->throttled_periods},
                {"throttled_time", &detail->throttled},
        };
        READ_KEYS(text, keys);
}

void cgroup_parse_cpu_max(const char *text, struct cgroup_detail *detail)
{
        uint64_t quota = CGROUP_UNLIMITED, period;
        const char *rest = text, *end;
        if (strncmp(text, "max", 3) == 0)
                rest = text + 3;
        else if (!read_digits(text, &rest, &quota))
                return;
        if (*rest != ' ' || !read_digits(rest + 1, &end, &period))
                return;
        detail->cpu_quota = quota;
        detail->cpu_period = period;
}

/* runc's way from shares (2 to 262144) to a weight (1 to 10000), backwards. */
#define SHARES_MIN     2
#define SHARES_MAX     262144
#define WEIGHT_MAX     10000
#define SHARES_PER_ONE ((double)(SHARES_MAX - SHARES_MIN) / (WEIGHT_MAX - 1))

uint64_t cgroup_shares_of_weight(uint64_t weight)
{
        if (weight <= 1)
                return SHARES_MIN;
        if (weight >= WEIGHT_MAX)
                return SHARES_MAX;
        /* The least of those that give this weight. */
        double shares = SHARES_MIN + (double)(weight - 1) * SHARES_PER_ONE;
        uint64_t whole = (uint64_t)shares;
        return (double)whole < shares ? whole + 1 : whole;
}

/* ---- pressure ---- */

#define DECIMAL_SCALE_MAX 1e6 /* of further digits nothing is taken; the kernel writes two */

/* "0.00" and more: digits, a point, digits; strtod would follow the locale. One division alone
 * rounds, so that this is the number that a client would write the same way. */
static bool read_decimal(const char *text, const char **end, double *value)
{
        uint64_t whole;
        if (!read_digits(text, &text, &whole))
                return false;
        double number = (double)whole, scale = 1;
        if (*text == '.')
                for (text++; *text >= '0' && *text <= '9'; text++) {
                        if (scale >= DECIMAL_SCALE_MAX)
                                continue;
                        number = 10 * number + (*text - '0');
                        scale *= 10;
                }
        *end = text;
        *value = number / scale;
        return true;
}

static bool read_stall(const char *line, const char *word, struct cgroup_stall *stall)
{
        static const char *const names[] = {" avg10=", " avg60=", " avg300="};
        struct cgroup_stall found;
        double *const averages[] = {&found.avg10, &found.avg60, &found.avg300};
        size_t length = strlen(word);
        if (strncmp(line, word, length) != 0)
                return false;
        line += length;
        for (size_t i = 0; i < 3; i++) {
                size_t name = strlen(names[i]);
                if (strncmp(line, names[i], name) != 0 ||
                    !read_decimal(line + name, &line, averages[i]))
                        return false;
        }
        static const char total[] = " total=";
        if (strncmp(line, total, sizeof total - 1) != 0 ||
            !read_digits(line + sizeof total - 1, &line, &found.total))
                return false;
        *stall = found;
        return true;
}

bool cgroup_parse_pressure(const char *text, struct cgroup_pressure *pressure)
{
        struct cgroup_pressure found = {0};
        for (const char *line = text; *line; line = next_line(line)) {
                if (read_stall(line, "some", &found.some))
                        found.known = true;
                else
                        read_stall(line, "full", &found.full);
        }
        *pressure = found.known ? found : (struct cgroup_pressure){0};
        return found.known;
}

/* ---- block devices ---- */

/* The entry of the device that a line begins with ("8:0 "); null where it is none, or there is no
 * room. *rest is behind it. */
static struct cgroup_device *device_of(const char *line, const char **rest,
                                       struct cgroup_detail *detail)
{
        uint64_t major, minor;
        if (!read_digits(line, &line, &major) || *line != ':' ||
            !read_digits(line + 1, &line, &minor) || *line != ' ' || major > UINT32_MAX ||
            minor > UINT32_MAX)
                return NULL;
        *rest = line + 1;
        for (size_t i = 0; i < detail->device_count; i++)
                if (detail->devices[i].major == major && detail->devices[i].minor == minor)
                        return &detail->devices[i];
        if (detail->device_count == CGROUP_DEVICES_MAX)
                return NULL;
        struct cgroup_device *device = &detail->devices[detail->device_count++];
        *device = (struct cgroup_device){.major = (unsigned)major, .minor = (unsigned)minor};
        return device;
}

void cgroup_parse_io_v2(const char *text, struct cgroup_detail *detail)
{
        for (const char *line = text; *line; line = next_line(line)) {
                const char *word;
                struct cgroup_device *device = device_of(line, &word, detail);
                if (!device)
                        continue;
                const struct key keys[] = {
                        {"rbytes", &device->read_bytes},
                        {"wbytes", &device->write_bytes},
                        {"rios", &device->reads},
                        {"wios", &device->writes},
                };
                while (*word && *word != '\n') {
                        size_t length = strcspn(word, "= \n");
                        const char *end = word + length;
                        uint64_t value;
                        if (*end == '=' && read_digits(end + 1, &end, &value))
                                for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
                                        if (strncmp(keys[i].name, word, length) == 0 &&
                                            !keys[i].name[length])
                                                *keys[i].value = value;
                        word = end + strcspn(end, " \n");
                        word += *word == ' ';
                }
        }
}

void cgroup_parse_io_v1(const char *text, bool bytes, struct cgroup_detail *detail)
{
        for (const char *line = text; *line; line = next_line(line)) {
                const char *word, *end;
                struct cgroup_device *device = device_of(line, &word, detail);
                uint64_t value;
                if (!device)
                        continue;
                if (strncmp(word, "Read ", 5) == 0 && read_digits(word + 5, &end, &value)) {
                        uint64_t *out = bytes ? &device->read_bytes : &device->reads;
                        *out = sum(*out, value);
                } else if (strncmp(word, "Write ", 6) == 0 && read_digits(word + 6, &end, &value)) {
                        uint64_t *out = bytes ? &device->write_bytes : &device->writes;
                        *out = sum(*out, value);
                }
        }
}
