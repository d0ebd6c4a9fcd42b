/* The limits of a container's cgroup, as the kernel has them. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "oci/cpu_list.h"
#include "oci/verify_private.h"

#define LIMITLESS INT64_C(0x7000000000000000) /* what the kernel rounds "no limit" to is above */

const char *verify_limit_text(const struct verify *verify, const char *file)
{
        size_t i;
        json_t *each;
        json_array_foreach (json_object_get(verify->facts, "cgroups"), i, each) {
                const char *text = json_string_value(verify_at(each, "limits", file, NULL));
                if (text)
                        return text;
        }
        return NULL;
}

static bool is_limitless(const char *text)
{
        return strcmp(text, "max") == 0 || strtoll(text, NULL, 10) < 0 ||
               strtoll(text, NULL, 10) >= LIMITLESS;
}

/* The kernel counts memory in pages. */
static bool same_number(const char *found, int64_t wanted, int64_t unit)
{
        if (wanted < 0 || wanted >= LIMITLESS)
                return is_limitless(found);
        return !is_limitless(found) && strtoll(found, NULL, 10) / unit == wanted / unit;
}

static void check_number(const struct verify *verify, const char *what, const char *file,
                         const json_t *wanted, int64_t unit)
{
        if (!wanted)
                return;
        const char *found = verify_limit_text(verify, file);
        int64_t number = json_integer_value(wanted);
        if (!found)
                verify_say(verify, VERIFY_WARNING, what, "the kernel has no %s to compare", file);
        else if (same_number(found, number, unit))
                verify_say(verify, VERIFY_PASS, what, "%s: %s", file, found);
        else
                verify_say(verify, VERIFY_FAIL, what, "%s: %s, and should be %" PRId64, file, found,
                           number);
}

static void check_cpus(const struct verify *verify, const char *what, const char *file,
                       const json_t *wanted)
{
        const char *list = json_string_value(wanted), *found = verify_limit_text(verify, file);
        AUTO_FREE struct cpu_list *a = xcalloc(2, sizeof *a);
        if (!list || !*list)
                return;
        bool same = found && cpu_list_parse(list, a, NULL) == 0 &&
                    cpu_list_parse(found, a + 1, NULL) == 0 && cpu_list_equal(a, a + 1);
        if (same)
                verify_say(verify, VERIFY_PASS, what, "%s: %s", file, found);
        else
                verify_say(verify, VERIFY_FAIL, what, "%s: %s, and should be %s", file,
                           found ? found : "not there", list);
}

/* Runtimes have changed how shares become a weight: the older line, or the newer curve through (2,
 * 1), (1024, 100) and (262144, 10000). */
static bool is_weight_of(int64_t weight, int64_t shares)
{
        if (weight == 1 + (shares - 2) * 9999 / 262142)
                return true;
        double l = log2((double)shares);
        return weight == (int64_t)ceil(pow(10, (l * l + 125 * l) / 612 - 7.0 / 34));
}

static void check_weight(const struct verify *verify, const json_t *shares)
{
        const char *found = verify_limit_text(verify, "cpu.weight");
        int64_t wanted = json_integer_value(shares);
        if (!shares || wanted < 2)
                return;
        if (found && is_weight_of(strtoll(found, NULL, 10), wanted))
                verify_say(verify, VERIFY_PASS, "CPU shares", "cpu.weight: %s", found);
        else
                verify_say(verify, VERIFY_FAIL, "CPU shares",
                           "cpu.weight: %s, which %" PRId64 " shares are not",
                           found ? found : "not there", wanted);
}

/* "QUOTA PERIOD" or "max PERIOD". */
static void check_quota_v2(const struct verify *verify, const json_t *cpu)
{
        const json_t *quota = json_object_get(cpu, "quota"),
                     *period = json_object_get(cpu, "period");
        const char *found = verify_limit_text(verify, "cpu.max");
        char first[32] = "";
        long long length = 0;
        if (!quota && !period)
                return;
        bool read = found && sscanf(found, "%31s %lld", first, &length) == 2;
        bool same = read && (!quota || same_number(first, json_integer_value(quota), 1)) &&
                    (!period || length == json_integer_value(period));
        if (same)
                verify_say(verify, VERIFY_PASS, "CPU quota", "cpu.max: %s", found);
        else
                verify_say(verify, VERIFY_FAIL, "CPU quota",
                           "cpu.max: %s, and should be %lld in %lld us",
                           found ? found : "not there",
                           quota ? (long long)json_integer_value(quota) : -1,
                           (long long)json_integer_value(period));
}

/* v2 limits swap alone, the specification memory and swap together. */
static void check_swap_v2(const struct verify *verify, const json_t *memory)
{
        const json_t *both = json_object_get(memory, "swap");
        json_int_t limit = json_integer_value(json_object_get(memory, "limit"));
        if (!both)
                return;
        json_int_t number = json_integer_value(both);
        AUTO_JSON json_t *swap = json_integer(number < 0 ? -1 : number - limit);
        check_number(verify, "swap limit", "memory.swap.max", swap, getpagesize());
}

static void check_hugepages(const struct verify *verify, const json_t *resources)
{
        size_t i;
        json_t *each;
        json_array_foreach (json_object_get(resources, "hugepageLimits"), i, each) {
                const char *size = json_string_value(json_object_get(each, "pageSize"));
                AUTO_FREE char *file =
                        xprintf("hugetlb.%s.%s", size ? size : "",
                                verify->mode == CGROUP_MODE_V2 ? "max" : "limit_in_bytes");
                AUTO_FREE char *what = xprintf("huge pages of %s", size ? size : "");
                check_number(verify, what, file, json_object_get(each, "limit"), 1);
        }
}

static void check_unified(const struct verify *verify, const json_t *resources)
{
        const char *file;
        json_t *value;
        json_object_foreach (json_object_get((json_t *)resources, "unified"), file, value) {
                const char *found = verify_limit_text(verify, file);
                const char *wanted = json_string_value(value);
                bool same = found && wanted &&
                            (strcmp(found, wanted) == 0 ||
                             same_number(found, strcmp(wanted, "max") ? atoll(wanted) : -1,
                                         getpagesize()));
                verify_say(verify, same ? VERIFY_PASS : VERIFY_FAIL, "cgroup file", "%s: %s%s%s",
                           file, found ? found : "not there", same ? "" : ", and should be ",
                           same || !wanted ? "" : wanted);
        }
}

/* A process that makes cgroups of its own below, as systemd does, is still in the container's. */
static bool is_in(const char *path, const char *place)
{
        size_t length = strlen(place);
        return strncmp(path, place, length) == 0 && (!path[length] || path[length] == '/');
}

static void check_place(const struct verify *verify)
{
        const char *wanted = json_string_value(json_object_get(verify->facts, "cgroupPath"));
        AUTO_FREE char *wrong = NULL;
        size_t i, count = 0;
        json_t *each;
        if (!wanted)
                return;
        json_array_foreach (json_object_get(verify->facts, "cgroups"), i, each) {
                const char *path = json_string_value(json_object_get(each, "path"));
                const char *name = json_string_value(json_object_get(each, "hierarchy"));
                if (!json_object_get(each, "limits"))
                        continue; /* the tree beside v1 limits nothing, and not all runtimes use it
                                   */
                count++;
                if (!is_in(path, wanted) && !wrong)
                        wrong = xprintf("%s: %s, and should be %s", name, path, wanted);
        }
        verify_say(verify, wrong ? VERIFY_FAIL : VERIFY_PASS, "cgroup", "%s (%zu hierarchies)",
                   wrong ? wrong : wanted, count);
}

void verify_limits(const struct verify *verify)
{
        const json_t *resources = verify_at(verify->spec, "linux", "resources", NULL);
        const json_t *cpu = json_object_get(resources, "cpu");
        const json_t *memory = json_object_get(resources, "memory");
        bool v2 = verify->mode == CGROUP_MODE_V2;
        check_place(verify);
        check_number(verify, "memory limit", v2 ? "memory.max" : "memory.limit_in_bytes",
                     json_object_get(memory, "limit"), getpagesize());
        check_number(verify, "process limit", "pids.max",
                     verify_at(resources, "pids", "limit", NULL), 1);
        check_cpus(verify, "processors", "cpuset.cpus", json_object_get(cpu, "cpus"));
        check_cpus(verify, "memory nodes", "cpuset.mems", json_object_get(cpu, "mems"));
        if (v2) {
                check_weight(verify, json_object_get(cpu, "shares"));
                check_quota_v2(verify, cpu);
                check_swap_v2(verify, memory);
        } else {
                check_number(verify, "CPU shares", "cpu.shares", json_object_get(cpu, "shares"), 1);
                check_number(verify, "CPU quota", "cpu.cfs_quota_us", json_object_get(cpu, "quota"),
                             1);
                check_number(verify, "CPU period", "cpu.cfs_period_us",
                             json_object_get(cpu, "period"), 1);
                check_number(verify, "swap limit", "memory.memsw.limit_in_bytes",
                             json_object_get(memory, "swap"), getpagesize());
        }
        check_hugepages(verify, resources);
        check_unified(verify, resources);
}
