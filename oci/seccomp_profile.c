/* Profiles, read and translated. */
#include "oci/seccomp_profile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "base/memory.h"

#define NAME_MAX_LENGTH  64   /* bytes of a system call's, capability's or other name */
#define CONDITION_MAX    256  /* names in includes and excludes */
#define ERRNO_NUMBER_MAX 4095 /* the kernel's MAX_ERRNO */

/* As profiles name the machine: Go's name, and libseccomp's. */
#if defined(__x86_64__)
#define NATIVE_NAME "amd64"
#define NATIVE_ARCH "SCMP_ARCH_X86_64"
#elif defined(__aarch64__)
#define NATIVE_NAME "arm64"
#define NATIVE_ARCH "SCMP_ARCH_AARCH64"
#else
#error "seccomp profiles: this architecture has no name yet"
#endif

/* ---- the words that a profile is made of ---- */

static const char *const actions[] = {
        "SCMP_ACT_KILL",        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
        "SCMP_ACT_ERRNO",       "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW",       "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",      NULL,
};
static const char *const operators[] = {
        "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",        "SCMP_CMP_EQ",
        "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ", NULL,
};

static bool is_among(const char *word, const char *const *words)
{
        for (; words && *words; words++)
                if (strcmp(*words, word) == 0)
                        return true;
        return false;
}

/* ---- checking ---- */

struct check {
        const char *place; /* of the profile */
        size_t rule;       /* number of the rule that is looked at */
        struct error *err;
};

static int refuse(const struct check *check, const char *what, const char *word)
{
        return error_set(check->err, ERROR_INVALID_ARGUMENT, "%s: syscalls[%zu].%s: \"%.*s\"",
                         check->place, check->rule, what, NAME_MAX_LENGTH, word);
}

static int check_names(const struct check *check, const json_t *object, const char *key,
                       size_t most)
{
        json_t *list = NULL;
        int result = json_get_array(object, key, check->place, &list, check->err);
        if (result < 0)
                return result;
        if (json_array_size(list) > most)
                return error_set(check->err, ERROR_INVALID_ARGUMENT,
                                 "%s: syscalls[%zu].%s: more than %zu names", check->place,
                                 check->rule, key, most);
        size_t index;
        const json_t *name;
        json_array_foreach (list, index, name) {
                const char *text = json_string_value(name);
                if (!text)
                        return refuse(check, key, "not a string");
                if (!*text || strlen(text) > NAME_MAX_LENGTH)
                        return refuse(check, key, text);
        }
        return 0;
}

static int check_condition(const struct check *check, const json_t *rule, const char *key)
{
        json_t *condition = NULL;
        const char *kernel = NULL;
        int result = json_get_object(rule, key, check->place, &condition, check->err);
        if (result < 0 || !condition)
                return result;
        result = check_names(check, condition, "caps", CONDITION_MAX);
        if (result == 0)
                result = check_names(check, condition, "arches", CONDITION_MAX);
        if (result == 0)
                result = json_get_string(condition, "minKernel", check->place, &kernel, check->err);
        unsigned major, minor;
        if (result == 0 && kernel && *kernel && sscanf(kernel, "%u.%u", &major, &minor) != 2)
                result = refuse(check, "minKernel", kernel);
        return result;
}

static int check_arguments(const struct check *check, const json_t *rule)
{
        json_t *list = NULL;
        int result = json_get_array(rule, "args", check->place, &list, check->err);
        if (result < 0)
                return result;
        if (json_array_size(list) > SECCOMP_ARGS_MAX)
                return refuse(check, "args", "too many");
        size_t index;
        const json_t *argument;
        json_array_foreach (list, index, argument) {
                int64_t number = -1, value = 0, second = 0;
                const char *operator= NULL;
                if (!json_is_object(argument))
                        return refuse(check, "args", "not an object");
                if ((result = json_get_int(argument, "index", check->place, &number, check->err)) <
                            0 ||
                    (result = json_get_int(argument, "value", check->place, &value, check->err)) <
                            0 ||
                    (result = json_get_int(argument, "valueTwo", check->place, &second,
                                           check->err)) < 0 ||
                    (result = json_get_string(argument, "op", check->place, &operator,
                                              check->err)) < 0)
                        return result;
                if (number < 0 || number > 5)
                        return refuse(check, "args.index", "it is 0 to 5");
                if (value < 0 || second < 0)
                        return refuse(check, "args.value", "negative");
                if (!operator|| !is_among(operator, operators))
                        return refuse(check, "args.op", operator ? operator: "");
        }
        return 0;
}

static int number_of_error(const char *name)
{
        for (int number = 1; number < 256; number++) {
                const char *each = strerrorname_np(number);
                if (each && strcmp(each, name) == 0)
                        return number;
        }
        return -1;
}

/*
 * The error number that object gives by name or number, under these keys; -1 where it gives none.
 * The name goes first, as in containers-common.
 */
static int read_error(const json_t *object, const char *name_key, const char *number_key,
                      const char *place, int *number, struct error *err)
{
        const char *name = NULL;
        int64_t value = -1;
        int result = json_get_string(object, name_key, place, &name, err);
        if (result == 0)
                result = json_get_int(object, number_key, place, &value, err);
        if (result < 0)
                return result;
        if (name && *name)
                value = number_of_error(name);
        if (value < -1 || value > ERRNO_NUMBER_MAX || (value < 0 && name && *name))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: no such error", place,
                                 name && *name ? name_key : number_key);
        *number = (int)value;
        return 0;
}

static int check_rule(const struct check *check, const json_t *rule)
{
        const char *action = NULL, *name = NULL;
        int ignored;
        if (!json_is_object(rule))
                return refuse(check, "rule", "not an object");
        int result = json_get_string(rule, "action", check->place, &action, check->err);
        if (result == 0)
                result = json_get_string(rule, "name", check->place, &name, check->err);
        if (result == 0)
                result = check_names(check, rule, "names", SECCOMP_NAMES_MAX);
        if (result < 0)
                return result;
        if (!action || !is_among(action, actions))
                return refuse(check, "action", action ? action : "");
        if (name && *name && json_array_size(json_object_get(rule, "names")) > 0)
                return refuse(check, "name", "both name and names");
        if (name && strlen(name) > NAME_MAX_LENGTH)
                return refuse(check, "name", name);
        result = read_error(rule, "errno", "errnoRet", check->place, &ignored, check->err);
        if (result == 0)
                result = check_arguments(check, rule);
        if (result == 0)
                result = check_condition(check, rule, "includes");
        if (result == 0)
                result = check_condition(check, rule, "excludes");
        return result;
}

static int check_map(const struct check *check, const json_t *profile)
{
        json_t *map = NULL;
        int result = json_get_array(profile, "archMap", check->place, &map, check->err);
        if (result < 0)
                return result;
        size_t index;
        const json_t *entry;
        json_array_foreach (map, index, entry) {
                const char *name = NULL;
                if (index >= CONDITION_MAX || !json_is_object(entry))
                        return error_set(check->err, ERROR_INVALID_ARGUMENT,
                                         "%s: archMap: too long, or an entry is not an object",
                                         check->place);
                result = json_get_string(entry, "architecture", check->place, &name, check->err);
                if (result == 0)
                        result = check_names(check, entry, "subArchitectures", CONDITION_MAX);
                if (result < 0)
                        return result;
        }
        if (json_array_size(map) > 0 &&
            json_array_size(json_object_get(profile, "architectures")) > 0)
                return error_set(check->err, ERROR_INVALID_ARGUMENT,
                                 "%s: both architectures and archMap", check->place);
        return 0;
}

static int check_profile(const json_t *profile, const char *place, struct error *err)
{
        struct check check = {.place = place, .err = err};
        json_t *rules = NULL;
        const char *action = NULL, *listener = NULL, *metadata = NULL;
        int ignored;
        if (!json_is_object(profile))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: not an object", place);
        int result = json_get_string(profile, "defaultAction", place, &action, err);
        if (result == 0)
                result = json_get_string(profile, "listenerPath", place, &listener, err);
        if (result == 0)
                result = json_get_string(profile, "listenerMetadata", place, &metadata, err);
        if (result == 0)
                result = read_error(profile, "defaultErrno", "defaultErrnoRet", place, &ignored,
                                    err);
        if (result == 0)
                result = check_names(&check, profile, "architectures", CONDITION_MAX);
        if (result == 0)
                result = check_names(&check, profile, "flags", CONDITION_MAX);
        if (result == 0)
                result = check_map(&check, profile);
        if (result == 0)
                result = json_get_array(profile, "syscalls", place, &rules, err);
        if (result < 0)
                return result;
        /* Without one nothing says what becomes of the calls that no rule names. */
        if (!action || !is_among(action, actions))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: defaultAction: \"%.*s\"", place,
                                 NAME_MAX_LENGTH, action ? action : "");
        if (json_array_size(rules) > SECCOMP_RULES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: more than %d rules", place,
                                 SECCOMP_RULES_MAX);
        const json_t *rule;
        json_array_foreach (rules, check.rule, rule) {
                result = check_rule(&check, rule);
                if (result < 0)
                        return result;
        }
        return 0;
}

int seccomp_profile_parse(const char *bytes, size_t length, const char *place, json_t **profile,
                          struct error *err)
{
        AUTO_JSON json_t *parsed = NULL;
        if (length > SECCOMP_PROFILE_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: longer than %d bytes", place,
                                 SECCOMP_PROFILE_MAX);
        int result = json_parse(bytes, length, place, &parsed, err);
        if (result == 0)
                result = check_profile(parsed, place, err);
        if (result < 0)
                return result;
        *profile = take_ptr(parsed);
        return 0;
}

int seccomp_profile_load_fd(int fd, const char *place, json_t **profile, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "look at %s", place);
        if (!S_ISREG(st.st_mode))
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s: not a plain file", place);
        AUTO_FREE char *path = xprintf("/proc/self/fd/%d", fd);
        int result = file_read(path, SECCOMP_PROFILE_MAX, &text, err);
        if (result < 0)
                return error_context(err, "%s", place);
        return seccomp_profile_parse(text.data ? text.data : "", text.length, place, profile, err);
}

int seccomp_profile_load(const char *path, json_t **profile, struct error *err)
{
        /* The path may be a stranger's: of a pipe nobody writes to, or of a terminal. */
        AUTO_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        return seccomp_profile_load_fd(fd, path, profile, err);
}

/* ---- translating ---- */

static bool contains(const json_t *list, const char *word)
{
        size_t index;
        const json_t *each;
        json_array_foreach (list, index, each)
                if (strcmp(json_string_value(each), word) == 0)
                        return true;
        return false;
}

static bool kernel_is_at_least(const char *wanted)
{
        struct utsname name;
        unsigned major = 0, minor = 0, own_major = 0, own_minor = 0;
        if (sscanf(wanted, "%u.%u", &major, &minor) != 2 || uname(&name) < 0 ||
            sscanf(name.release, "%u.%u", &own_major, &own_minor) != 2)
                return false;
        return own_major != major ? own_major > major : own_minor >= minor;
}

/* Whether the rule is for such a container: all of includes hold, and none of excludes. */
static bool holds(const json_t *rule, const char *const *capabilities)
{
        const json_t *includes = json_object_get(rule, "includes");
        const json_t *excludes = json_object_get(rule, "excludes");
        const json_t *arches = json_object_get(includes, "arches");
        const char *at_least = json_string_value(json_object_get(includes, "minKernel"));
        const char *below = json_string_value(json_object_get(excludes, "minKernel"));
        size_t index;
        const json_t *name;
        if (json_array_size(arches) > 0 && !contains(arches, NATIVE_NAME))
                return false;
        if (contains(json_object_get(excludes, "arches"), NATIVE_NAME))
                return false;
        if ((at_least && *at_least && !kernel_is_at_least(at_least)) ||
            (below && *below && kernel_is_at_least(below)))
                return false;
        json_array_foreach (json_object_get(includes, "caps"), index, name)
                if (!is_among(json_string_value(name), capabilities))
                        return false;
        json_array_foreach (json_object_get(excludes, "caps"), index, name)
                if (is_among(json_string_value(name), capabilities))
                        return false;
        return true;
}

static json_t *arguments_of(const json_t *rule)
{
        json_t *list = json_array();
        size_t index;
        const json_t *each;
        json_array_foreach (json_object_get(rule, "args"), index, each) {
                json_t *argument = json_object();
                static const char *const keys[] = {"index", "value", "valueTwo", "op"};
                for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
                        json_t *member = json_object_get(each, keys[i]);
                        if (member && !json_is_null(member))
                                json_object_set(argument, keys[i], member);
                }
                /* Both are required there, and a zero may be left out here. */
                for (size_t i = 0; i < 2; i++)
                        if (!json_object_get(argument, keys[i]))
                                json_object_set_new(argument, keys[i], json_integer(0));
                json_array_append_new(list, argument);
        }
        return list;
}

static json_t *names_of(const json_t *rule)
{
        json_t *names = json_object_get(rule, "names");
        json_t *name = json_object_get(rule, "name");
        if (json_array_size(names) > 0)
                return json_deep_copy(names);
        names = json_array();
        if (json_string_length(name) > 0)
                json_array_append(names, name);
        return names;
}

/* An ERRNO without a number is EPERM. */
static int effective_error(const char *action, int number)
{
        if (strcmp(action, "SCMP_ACT_ERRNO") != 0)
                return -1;
        return number < 0 ? EPERM : number;
}

struct default_action {
        const char *action;
        int number;
};

static void add_rule(json_t *rules, const json_t *rule, const struct default_action *fallback,
                     const char *place)
{
        const char *action = json_string_value(json_object_get(rule, "action"));
        int number = -1;
        read_error(rule, "errno", "errnoRet", place, &number, NULL); /* checked before */
        AUTO_JSON json_t *names = names_of(rule);
        if (json_array_size(names) == 0)
                return;
        /* libseccomp takes no rule that says what the default says anyway. */
        if (strcmp(action, fallback->action) == 0 &&
            effective_error(action, number) == fallback->number)
                return;
        json_t *object = json_object();
        json_object_set(object, "names", names);
        json_object_set_new(object, "action", json_string(action));
        if (number >= 0)
                json_object_set_new(object, "errnoRet", json_integer(number));
        AUTO_JSON json_t *arguments = arguments_of(rule);
        if (json_array_size(arguments) > 0)
                json_object_set(object, "args", arguments);
        json_array_append_new(rules, object);
}

static json_t *architectures_of(const json_t *profile)
{
        json_t *own = json_object_get(profile, "architectures");
        if (json_array_size(own) > 0)
                return json_deep_copy(own);
        json_t *list = json_array();
        size_t index;
        const json_t *entry;
        json_array_foreach (json_object_get(profile, "archMap"), index, entry) {
                json_t *name = json_object_get(entry, "architecture");
                if (!json_is_string(name) || strcmp(json_string_value(name), NATIVE_ARCH) != 0)
                        continue;
                json_array_append(list, name);
                json_t *further = json_object_get(entry, "subArchitectures");
                if (json_is_array(further))
                        json_array_extend(list, further);
                break;
        }
        return list;
}

int seccomp_profile_translate(const json_t *profile, const char *const *capabilities,
                              const char *place, json_t **seccomp, struct error *err)
{
        struct default_action fallback = {
                .action = json_string_value(json_object_get(profile, "defaultAction"))};
        int number = -1;
        int result = read_error(profile, "defaultErrno", "defaultErrnoRet", place, &number, err);
        if (result < 0)
                return result;
        fallback.number = effective_error(fallback.action, number);
        AUTO_JSON json_t *made = json_object();
        json_object_set_new(made, "defaultAction", json_string(fallback.action));
        if (number >= 0)
                json_object_set_new(made, "defaultErrnoRet", json_integer(number));
        AUTO_JSON json_t *architectures = architectures_of(profile);
        if (json_array_size(architectures) > 0)
                json_object_set(made, "architectures", architectures);
        static const char *const kept[] = {"flags", "listenerPath", "listenerMetadata"};
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
                json_t *member = json_object_get(profile, kept[i]);
                if (json_array_size(member) > 0 || json_string_length(member) > 0)
                        json_object_set(made, kept[i], member);
        }
        json_t *rules = json_array();
        json_object_set_new(made, "syscalls", rules);
        size_t index;
        const json_t *rule;
        json_array_foreach (json_object_get(profile, "syscalls"), index, rule)
                if (holds(rule, capabilities))
                        add_rule(rules, rule, &fallback, place);
        *seccomp = take_ptr(made);
        return 0;
}

void seccomp_profile_notify(json_t *profile, const char *listener)
{
        static const char *const asked[] = {"SCMP_ACT_ERRNO", "SCMP_ACT_KILL",
                                            "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", NULL};
        size_t index;
        json_t *rule;
        json_array_foreach (json_object_get(profile, "syscalls"), index, rule) {
                if (!is_among(json_string_value(json_object_get(rule, "action")), asked))
                        continue;
                json_object_set_new(rule, "action", json_string("SCMP_ACT_NOTIFY"));
                json_object_del(rule, "errnoRet");
                json_object_del(rule, "errno");
        }
        json_object_set_new(profile, "listenerPath", json_string(listener));
}

bool seccomp_profile_is_supported(void)
{
        /* With a filter that cannot be read, a kernel that has filters says EFAULT. */
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 && errno == EFAULT;
}
