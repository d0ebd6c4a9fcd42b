#include "oci/verify.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "oci/verify_private.h"

void verify_say(const struct verify *verify, enum verify_verdict verdict, const char *what,
                const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        AUTO_FREE char *text = xvprintf(format, arguments);
        va_end(arguments);
        verify->tell(verify->argument, verdict, what, text);
}

const json_t *verify_at(const json_t *object, ...)
{
        va_list names;
        va_start(names, object);
        for (const char *name; object && (name = va_arg(names, const char *));)
                object = json_object_get(object, name);
        va_end(names);
        return object;
}

static const char *text_at(const json_t *object, const char *key)
{
        const char *text = json_string_value(json_object_get(object, key));
        return text ? text : "";
}

/* ---- namespaces ---- */

static const char *kernel_name(const char *type)
{
        return strcmp(type, "network") == 0 ? "net" : strcmp(type, "mount") == 0 ? "mnt" : type;
}

/* Of one type: what the specification says, or null where it names none. */
static void check_namespace(const struct verify *verify, const char *name, const json_t *wanted)
{
        const json_t *found = verify_at(verify->facts, "namespaces", name, NULL);
        const char *path = json_string_value(json_object_get(wanted, "path"));
        AUTO_FREE char *what = xprintf("namespace %s", name);
        json_int_t inode = json_integer_value(json_object_get(found, "inode"));
        bool host = json_is_true(json_object_get(found, "host"));
        if (!found)
                verify_say(verify, wanted ? VERIFY_FAIL : VERIFY_PASS, what,
                           "the kernel has no such namespaces");
        else if (path) {
                json_int_t pin = json_integer_value(verify_at(verify->facts, "pinned", path, NULL));
                if (pin == inode)
                        verify_say(verify, VERIFY_PASS, what, "%lld, that of %s", (long long)inode,
                                   path);
                else
                        verify_say(verify, VERIFY_FAIL, what, "%lld, and %s is %lld",
                                   (long long)inode, path, (long long)pin);
        } else if (wanted) {
                verify_say(verify, host ? VERIFY_FAIL : VERIFY_PASS, what,
                           host ? "%lld is the machine's, and should be its own" : "%lld, its own",
                           (long long)inode);
        } else {
                verify_say(verify, host ? VERIFY_PASS : VERIFY_FAIL, what,
                           host ? "%lld, the machine's"
                                : "%lld is not the machine's, and should be",
                           (long long)inode);
        }
}

static void check_namespaces(const struct verify *verify)
{
        static const char *const types[] = {"cgroup", "ipc",  "mount", "network",
                                            "pid",    "user", "uts"};
        const json_t *list = verify_at(verify->spec, "linux", "namespaces", NULL);
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
                const json_t *wanted = NULL, *each;
                size_t k;
                json_array_foreach (list, k, each)
                        if (strcmp(text_at(each, "type"), types[i]) == 0)
                                wanted = each;
                check_namespace(verify, kernel_name(types[i]), wanted);
        }
}

/* ---- capabilities ---- */

static bool has(const json_t *list, const char *name)
{
        size_t i;
        json_t *each;
        json_array_foreach (list, i, each)
                if (strcmp(json_string_value(each), name) == 0)
                        return true;
        return false;
}

/* Those of one list that the other has not, with commas. */
static char *missing(const json_t *list, const json_t *other)
{
        struct buffer text = BUFFER_INIT;
        size_t i;
        json_t *each;
        buffer_add_text(&text, "");
        json_array_foreach (list, i, each)
                if (!has(other, json_string_value(each)))
                        buffer_printf(&text, "%s%s", text.length ? ", " : "",
                                      json_string_value(each));
        return buffer_take(&text);
}

static void check_capabilities(const struct verify *verify)
{
        static const char *const sets[] = {"bounding", "effective", "permitted", "inheritable",
                                           "ambient"};
        for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
                const json_t *wanted =
                        verify_at(verify->spec, "process", "capabilities", sets[i], NULL);
                const json_t *found = verify_at(verify->facts, "capabilities", sets[i], NULL);
                AUTO_FREE char *what = xprintf("capabilities %s", sets[i]);
                AUTO_FREE char *more = missing(found, wanted), *less = missing(wanted, found);
                /* Who is not root loses by the kernel's rules what is not ambient. */
                bool by_rule = json_integer_value(json_object_get(verify->facts, "uid")) != 0 &&
                               (i == 1 || i == 2);
                if (*more)
                        verify_say(verify, VERIFY_FAIL, what, "has %s, which it should not", more);
                else if (*less && !by_rule)
                        verify_say(verify, VERIFY_WARNING, what,
                                   "%s is gone: the process gave it up", less);
                else
                        verify_say(verify, VERIFY_PASS, what, "%zu, no more than it should",
                                   json_array_size(found));
        }
}

/* ---- the process ---- */

static void check_user(const struct verify *verify)
{
        json_int_t wanted =
                json_integer_value(verify_at(verify->spec, "process", "user", "uid", NULL));
        json_int_t found = json_integer_value(json_object_get(verify->facts, "uid"));
        if (wanted == found)
                verify_say(verify, VERIFY_PASS, "user", "%lld", (long long)found);
        else
                verify_say(verify, found == 0 ? VERIFY_FAIL : VERIFY_WARNING, "user",
                           "%lld, and it was started as %lld", (long long)found, (long long)wanted);
        json_int_t group =
                json_integer_value(verify_at(verify->spec, "process", "user", "gid", NULL));
        found = json_integer_value(json_object_get(verify->facts, "gid"));
        if (group == found)
                verify_say(verify, VERIFY_PASS, "group", "%lld", (long long)found);
        else
                verify_say(verify, found == 0 ? VERIFY_FAIL : VERIFY_WARNING, "group",
                           "%lld, and it was started as %lld", (long long)found, (long long)group);
}

static void check_seccomp(const struct verify *verify)
{
        const char *found = text_at(verify->facts, "seccomp");
        bool wanted = verify_at(verify->spec, "linux", "seccomp", NULL);
        /* A process may put itself under a filter, and can never take one off. */
        if (wanted && strcmp(found, "filter") != 0)
                verify_say(verify, VERIFY_FAIL, "seccomp", "%s, and should be a filter", found);
        else
                verify_say(verify, VERIFY_PASS, "seccomp", "%s", found);
        bool sealed = json_is_true(verify_at(verify->spec, "process", "noNewPrivileges", NULL));
        bool is = json_is_true(json_object_get(verify->facts, "noNewPrivileges"));
        verify_say(verify, sealed && !is ? VERIFY_FAIL : VERIFY_PASS, "no new privileges", "%s%s",
                   is ? "set" : "not set", sealed && !is ? ", and should be" : "");
}

/* "crisp-default (enforce)" of AppArmor, a context of SELinux. */
static void check_label(const struct verify *verify)
{
        const char *profile = text_at(json_object_get(verify->spec, "process"), "apparmorProfile");
        const char *context = text_at(json_object_get(verify->spec, "process"), "selinuxLabel");
        const char *found = text_at(verify->facts, "label");
        size_t length = strlen(profile);
        if (*profile) {
                bool same = strncmp(found, profile, length) == 0 &&
                            (!found[length] || found[length] == ' ');
                verify_say(verify, same ? VERIFY_PASS : VERIFY_FAIL, "AppArmor profile", "%s%s%s",
                           found, same ? "" : ", and should be ", same ? "" : profile);
        }
        if (*context) {
                bool same = strcmp(found, context) == 0;
                verify_say(verify, same ? VERIFY_PASS : VERIFY_FAIL, "SELinux label", "%s%s%s",
                           found, same ? "" : ", and should be ", same ? "" : context);
        }
}

static void check_oom_score(const struct verify *verify)
{
        const json_t *wanted = verify_at(verify->spec, "process", "oomScoreAdj", NULL);
        const json_t *found = json_object_get(verify->facts, "oomScoreAdj");
        if (!wanted || !found)
                return;
        bool same = json_integer_value(wanted) == json_integer_value(found);
        if (same)
                verify_say(verify, VERIFY_PASS, "OOM score adjustment", "%lld",
                           (long long)json_integer_value(found));
        else
                verify_say(verify, VERIFY_FAIL, "OOM score adjustment", "%lld, and should be %lld",
                           (long long)json_integer_value(found),
                           (long long)json_integer_value(wanted));
}

/* The specification's numbers are unsigned; the largest of ours stands for "unlimited". */
static bool same_limit(json_int_t wanted, json_int_t found)
{
        return wanted == found || (found == -1 && wanted == INT64_MAX);
}

static void check_rlimits(const struct verify *verify)
{
        size_t i;
        json_t *each;
        json_array_foreach (verify_at(verify->spec, "process", "rlimits", NULL), i, each) {
                const char *type = text_at(each, "type");
                const json_t *found = verify_at(verify->facts, "rlimits", type, NULL);
                json_int_t soft = json_integer_value(json_object_get(found, "soft"));
                json_int_t hard = json_integer_value(json_object_get(found, "hard"));
                bool same = same_limit(json_integer_value(json_object_get(each, "soft")), soft) &&
                            same_limit(json_integer_value(json_object_get(each, "hard")), hard);
                /* A process may lower them itself. */
                if (same) {
                        verify_say(verify, VERIFY_PASS, type, "%lld:%lld", (long long)soft,
                                   (long long)hard);
                        continue;
                }
                verify_say(verify, VERIFY_WARNING, type,
                           "%lld:%lld, and it was started with %lld:%lld", (long long)soft,
                           (long long)hard,
                           (long long)json_integer_value(json_object_get(each, "soft")),
                           (long long)json_integer_value(json_object_get(each, "hard")));
        }
}

/* The kernel writes several numbers with tabs between them. */
static bool same_words(const char *one, const char *other)
{
        for (;;) {
                one += strspn(one, " \t");
                other += strspn(other, " \t");
                size_t length = strcspn(one, " \t");
                if (length != strcspn(other, " \t") || strncmp(one, other, length) != 0)
                        return false;
                if (!length)
                        return true;
                one += length;
                other += length;
        }
}

static void check_sysctls(const struct verify *verify)
{
        const char *name;
        json_t *each;
        json_object_foreach ((json_t *)verify_at(verify->spec, "linux", "sysctl", NULL), name,
                             each) {
                const char *wanted = json_string_value(each);
                const char *found =
                        json_string_value(verify_at(verify->facts, "sysctls", name, NULL));
                AUTO_FREE char *what = xprintf("sysctl %s", name);
                if (found && same_words(found, wanted))
                        verify_say(verify, VERIFY_PASS, what, "%s", found);
                else
                        verify_say(verify, VERIFY_FAIL, what, "%s, and should be %s",
                                   found ? found : "not there", wanted);
        }
}

void verify_container(const json_t *spec, const json_t *facts, const char *layers,
                      enum cgroup_mode mode, verify_tell *tell, void *argument)
{
        struct verify verify = {spec, facts, layers, mode, tell, argument};
        check_namespaces(&verify);
        check_user(&verify);
        check_capabilities(&verify);
        check_seccomp(&verify);
        check_label(&verify);
        check_oom_score(&verify);
        check_rlimits(&verify);
        check_sysctls(&verify);
        verify_limits(&verify);
        verify_io(&verify);
        verify_devices(&verify);
        verify_mounts(&verify);
}
