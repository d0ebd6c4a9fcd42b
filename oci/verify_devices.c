/* Which devices a container may use, as its cgroup has them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "oci/verify_private.h"

#define RULES_MAX 256 /* of a specification, and of the kernel; both are ours and the runtime's */
#define TOLD_MAX  8   /* differences that are named */
#define ANY       (-1)
#define WHAT      "devices"

struct rule {
        char type;              /* a, b or c */
        long long major, minor; /* or ANY */
        char access[4];         /* of r, w and m */
};

struct rules {
        bool everything;
        struct rule list[RULES_MAX];
        size_t count;
};

/* What every runtime lets through, as the specification has it: the devices that each container
 * has, its terminals, and to make nodes of any; and, of some, what tunnels are made with. */
static const struct rule always[] = {
        {'c', ANY, ANY, "m"}, {'b', ANY, ANY, "m"}, {'c', 1, 3, "rwm"},     {'c', 1, 5, "rwm"},
        {'c', 1, 7, "rwm"},   {'c', 1, 8, "rwm"},   {'c', 1, 9, "rwm"},     {'c', 5, 0, "rwm"},
        {'c', 5, 1, "rwm"},   {'c', 5, 2, "rwm"},   {'c', 136, ANY, "rwm"}, {'c', 10, 200, "rwm"},
};

static bool covers(const struct rule *rule, const struct rule *other, char access)
{
        return rule->type == other->type && (rule->major == ANY || rule->major == other->major) &&
               (rule->minor == ANY || rule->minor == other->minor) && strchr(rule->access, access);
}

static bool any_covers(const struct rule *list, size_t count, const struct rule *other, char access)
{
        for (size_t i = 0; i < count; i++)
                if (covers(&list[i], other, access))
                        return true;
        return false;
}

/* ---- what is wanted: the rules one after the other, as the kernel takes them ---- */

static long long number_of(const json_t *rule, const char *key)
{
        const json_t *value = json_object_get(rule, key);
        return value && json_integer_value(value) >= 0 ? json_integer_value(value) : ANY;
}

static void take_away(struct rules *rules, const struct rule *rule)
{
        size_t kept = 0;
        for (size_t i = 0; i < rules->count; i++) {
                struct rule *each = &rules->list[i];
                if (each->type != rule->type || each->major != rule->major ||
                    each->minor != rule->minor)
                        rules->list[kept++] = *each;
        }
        rules->count = kept;
}

static void apply(struct rules *rules, const json_t *entry)
{
        const char *type = json_string_value(json_object_get(entry, "type"));
        const char *access = json_string_value(json_object_get(entry, "access"));
        bool allow = json_is_true(json_object_get(entry, "allow"));
        struct rule rule = {.type = type ? *type : 'a',
                            .major = number_of(entry, "major"),
                            .minor = number_of(entry, "minor")};
        snprintf(rule.access, sizeof rule.access, "%s", access && *access ? access : "rwm");
        if (rule.type == 'a') {
                rules->everything = allow;
                rules->count = 0;
        } else if (!allow) {
                take_away(rules, &rule);
        } else if (rules->count < RULES_MAX) {
                rules->list[rules->count++] = rule;
        }
}

/* ---- what the kernel has: "c 1:3 rwm", "a *:* rwm" ---- */

static void read_line(struct rules *rules, const char *line)
{
        struct rule rule = {0};
        char major[16], minor[16];
        if (sscanf(line, "%c %15[0-9*]:%15[0-9*] %3s", &rule.type, major, minor, rule.access) != 4)
                return;
        rule.major = *major == '*' ? ANY : atoll(major);
        rule.minor = *minor == '*' ? ANY : atoll(minor);
        if (rule.type == 'a')
                rules->everything = true;
        else if (rules->count < RULES_MAX)
                rules->list[rules->count++] = rule;
}

/* ---- the difference ---- */

static void name(struct buffer *text, const struct rule *rule, const char *letters)
{
        char major[24] = "*", minor[24] = "*";
        if (rule->major != ANY)
                snprintf(major, sizeof major, "%lld", rule->major);
        if (rule->minor != ANY)
                snprintf(minor, sizeof minor, "%lld", rule->minor);
        buffer_printf(text, "%s%c %s:%s %s", text->length ? ", " : "", rule->type, major, minor,
                      letters);
}

/* Those of one list that neither of the others has, by the letters that are missing; how many. */
static size_t name_missing(const struct rules *from, const struct rules *in,
                           const struct rule *more, size_t more_count, struct buffer *text)
{
        size_t count = 0;
        for (size_t i = 0; i < from->count; i++) {
                char letters[4] = "";
                for (const char *access = from->list[i].access; *access; access++)
                        if (!any_covers(in->list, in->count, &from->list[i], *access) &&
                            !any_covers(more, more_count, &from->list[i], *access))
                                strncat(letters, access, 1);
                if (*letters && count++ < TOLD_MAX)
                        name(text, &from->list[i], letters);
        }
        return count;
}

static void compare(const struct verify *verify, const struct rules *wanted,
                    const struct rules *found)
{
        AUTO_BUFFER struct buffer extra = BUFFER_INIT, missing = BUFFER_INIT;
        size_t extras = name_missing(found, wanted, always, sizeof always / sizeof *always, &extra);
        size_t missings = name_missing(wanted, found, NULL, 0, &missing);
        if (wanted->everything != found->everything) {
                verify_say(verify, VERIFY_FAIL, WHAT,
                           found->everything ? "all are allowed, and should not be"
                                             : "not all are allowed, and all should be");
                return;
        }
        if (wanted->everything) {
                verify_say(verify, VERIFY_PASS, WHAT, "all are allowed");
                return;
        }
        if (extras)
                verify_say(verify, VERIFY_FAIL, WHAT, "allowed, and should not be: %s%s",
                           extra.data, extras > TOLD_MAX ? ", ..." : "");
        if (missings)
                verify_say(verify, VERIFY_FAIL, WHAT, "not allowed, and should be: %s%s",
                           missing.data, missings > TOLD_MAX ? ", ..." : "");
        if (!extras && !missings)
                verify_say(verify, VERIFY_PASS, WHAT, "%zu rules", found->count);
}

void verify_devices(const struct verify *verify)
{
        const json_t *list = verify_at(verify->spec, "linux", "resources", "devices", NULL);
        const json_t *lines = json_object_get(verify->facts, "devices");
        const json_t *programs = json_object_get(verify->facts, "devicePrograms");
        AUTO_FREE struct rules *wanted = xcalloc(1, sizeof *wanted);
        AUTO_FREE struct rules *found = xcalloc(1, sizeof *found);
        size_t i;
        json_t *each;
        wanted->everything = true;
        json_array_foreach (list, i, each)
                apply(wanted, each);
        json_array_foreach (lines, i, each)
                read_line(found, json_string_value(each));
        if (lines)
                compare(verify, wanted, found);
        else if (!json_is_integer(programs))
                verify_say(verify, VERIFY_WARNING, WHAT, "the kernel does not tell");
        else if (wanted->everything || json_integer_value(programs))
                verify_say(verify, VERIFY_PASS, WHAT, "%lld programs decide",
                           (long long)json_integer_value(programs));
        else
                verify_say(verify, VERIFY_FAIL, WHAT,
                           "no program decides, and not all should be allowed");
}
