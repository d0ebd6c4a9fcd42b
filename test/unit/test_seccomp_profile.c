/* Seccomp profiles: what is refused, and what containers get of one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "oci/seccomp_profile.h"

static const char *const nothing[] = {NULL};

static json_t *parsed(const char *text)
{
        json_t *profile = NULL;
        struct error err = {0};
        if (seccomp_profile_parse(text, strlen(text), "p", &profile, &err) < 0)
                fail_msg("%s", err.message);
        return profile;
}

static json_t *translated(const json_t *profile, const char *const *capabilities)
{
        json_t *seccomp = NULL;
        struct error err = {0};
        assert_int_equal(seccomp_profile_translate(profile, capabilities, "p", &seccomp, &err), 0);
        return seccomp;
}

/* What text becomes, compact. */
static void expect(const char *text, const char *const *capabilities, const char *wanted)
{
        AUTO_JSON json_t *profile = parsed(text);
        AUTO_JSON json_t *seccomp = translated(profile, capabilities);
        AUTO_FREE char *found = json_text(seccomp);
        assert_string_equal(found, wanted);
}

static void refused(const char *text, const char *words)
{
        json_t *profile = NULL;
        struct error err = {0};
        assert_true(seccomp_profile_parse(text, strlen(text), "p", &profile, &err) < 0);
        assert_null(profile);
        assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
        if (!strstr(err.message, words))
                fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

#define RULES(...) "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[" __VA_ARGS__ "]}"
#define ALLOWED    "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":["

static void simple(void **state)
{
        (void)state;
        expect("{\"defaultAction\":\"SCMP_ACT_KILL\"}", nothing,
               "{\"defaultAction\":\"SCMP_ACT_KILL\",\"syscalls\":[]}");
        expect(RULES("{\"name\":\"mkdir\",\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":7}"), nothing,
               ALLOWED "{\"names\":[\"mkdir\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":7}]}");
        /* The error's name goes before its number. */
        expect(RULES("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":7,"
                     "\"errno\":\"EPERM\"}"),
               nothing,
               ALLOWED "{\"names\":[\"a\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1}]}");
        expect(RULES("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\",\"args\":[{\"index\":1,"
                     "\"op\":\"SCMP_CMP_EQ\",\"value\":4294967295}]}"),
               nothing,
               ALLOWED "{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\",\"args\":[{\"index\":1,"
                       "\"value\":4294967295,\"op\":\"SCMP_CMP_EQ\"}]}]}");
        expect("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],"
               "\"listenerPath\":\"/l\",\"listenerMetadata\":\"m\",\"comment\":[1]}",
               nothing,
               "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],"
               "\"listenerPath\":\"/l\",\"listenerMetadata\":\"m\",\"syscalls\":[]}");
}

static void what_the_default_says_is_left_out(void **state)
{
        (void)state;
        expect("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
               "{\"names\":[\"a\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1},"
               "{\"names\":[\"b\"],\"action\":\"SCMP_ACT_ERRNO\"},"
               "{\"names\":[\"c\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":2}]}",
               nothing,
               "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
               "{\"names\":[\"c\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":2}]}");
}

static void conditions(void **state)
{
        (void)state;
        static const char profile[] = RULES("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\","
                                            "\"includes\":{\"caps\":[\"CAP_KILL\","
                                            "\"CAP_CHOWN\"]}},"
                                            "{\"names\":[\"b\"],\"action\":\"SCMP_ACT_LOG\","
                                            "\"excludes\":{\"caps\":[\"CAP_KILL\","
                                            "\"CAP_CHOWN\"]}},"
                                            "{\"names\":[\"c\"],\"action\":\"SCMP_ACT_LOG\","
                                            "\"includes\":{\"arches\":[\"s390x\"]}},"
                                            "{\"names\":[\"d\"],\"action\":\"SCMP_ACT_LOG\","
                                            "\"excludes\":{\"arches\":[\"amd64\","
                                            "\"arm64\"]}},"
                                            "{\"names\":[\"e\"],\"action\":\"SCMP_ACT_LOG\","
                                            "\"includes\":{\"minKernel\":\"99.0\"}},"
                                            "{\"names\":[\"f\"],\"action\":\"SCMP_ACT_LOG\","
                                            "\"excludes\":{\"minKernel\":\"3.1\"}}");
        static const char a[] = ALLOWED "{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\"}]}";
        static const char b[] = ALLOWED "{\"names\":[\"b\"],\"action\":\"SCMP_ACT_LOG\"}]}";
        expect(profile, nothing, b);
        expect(profile, NULL, b);
        expect(profile, (const char *const[]){"CAP_KILL", NULL},
               "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[]}");
        expect(profile, (const char *const[]){"CAP_CHOWN", "CAP_KILL", NULL}, a);
}

static void architectures(void **state)
{
        (void)state;
        AUTO_JSON json_t *profile = seccomp_profile_default();
        AUTO_JSON json_t *seccomp = translated(profile, nothing);
        const json_t *list = json_object_get(seccomp, "architectures");
#ifdef __x86_64__
        assert_int_equal(json_array_size(list), 3);
        assert_string_equal(json_string_value(json_array_get(list, 0)), "SCMP_ARCH_X86_64");
#else
        assert_int_equal(json_array_size(list), 2);
#endif
        expect("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_S390\"]}",
               nothing,
               "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_S390\"],"
               "\"syscalls\":[]}");
}

static void broken(void **state)
{
        (void)state;
        refused("", "p: ");
        refused("[]", "not an object");
        refused("{}", "defaultAction");
        refused("{\"defaultAction\":\"SCMP_ACT_NO\"}", "defaultAction: \"SCMP_ACT_NO\"");
        refused("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":4096}", "no such error");
        refused("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrno\":\"ENO\"}", "no such error");
        refused(RULES("{\"names\":[\"a\"]}"), "syscalls[0].action");
        refused(RULES("1"), "syscalls[0].rule");
        refused(RULES("{\"names\":[1],\"action\":\"SCMP_ACT_LOG\"}"), "syscalls[0].names");
        refused(RULES("{\"names\":[\"\"],\"action\":\"SCMP_ACT_LOG\"}"), "syscalls[0].names");
        refused(RULES("{\"name\":\"b\",\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\"}"), "both");
        refused(RULES("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\",\"args\":[{\"index\":6,"
                      "\"op\":\"SCMP_CMP_EQ\"}]}"),
                "index");
        refused(RULES("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\",\"args\":[{\"value\":-1,"
                      "\"index\":0,\"op\":\"SCMP_CMP_EQ\"}]}"),
                "value");
        refused(RULES("{\"names\":[\"a\"],\"action\":\"SCMP_ACT_LOG\",\"includes\":{\"minKernel\":"
                      "\"new\"}}"),
                "minKernel");
        refused("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"A\"],\"archMap\":["
                "{\"architecture\":\"A\"}]}",
                "both");
        refused("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"archMap\":[1]}", "archMap");
}

/* The action of the last rule for the call that has no conditions on arguments; or the default's.
 */
static const char *action_of(const json_t *seccomp, const char *call)
{
        const char *action = json_string_value(json_object_get(seccomp, "defaultAction"));
        size_t index, at;
        const json_t *rule, *name;
        json_array_foreach (json_object_get(seccomp, "syscalls"), index, rule)
                json_array_foreach (json_object_get(rule, "names"), at, name)
                        if (strcmp(json_string_value(name), call) == 0 &&
                            !json_object_get(rule, "args"))
                                action = json_string_value(json_object_get(rule, "action"));
        return action;
}

static void our_default(void **state)
{
        (void)state;
        AUTO_JSON json_t *profile = seccomp_profile_default();
        AUTO_FREE char *text = json_text(profile);
        AUTO_JSON json_t *read_back = parsed(text); /* it is a profile like any other */
        AUTO_JSON json_t *plain = translated(read_back, nothing);
        AUTO_JSON json_t *admin = translated(profile, (const char *const[]){"CAP_SYS_ADMIN", NULL});
        assert_string_equal(action_of(plain, "openat"), "SCMP_ACT_ALLOW");
        assert_string_equal(action_of(plain, "unshare"), "SCMP_ACT_ERRNO");
        assert_string_equal(action_of(plain, "mount"), "SCMP_ACT_ERRNO");
        assert_string_equal(action_of(plain, "bpf"), "SCMP_ACT_ERRNO");
        assert_string_equal(action_of(plain, "kexec_load"), "SCMP_ACT_ERRNO");
        assert_string_equal(action_of(admin, "unshare"), "SCMP_ACT_ALLOW");
        assert_string_equal(action_of(admin, "clone3"), "SCMP_ACT_ALLOW");
        assert_string_equal(action_of(admin, "mount"), "SCMP_ACT_ALLOW");
        assert_string_equal(action_of(admin, "bpf"), "SCMP_ACT_ALLOW");
        assert_string_equal(action_of(admin, "kexec_load"), "SCMP_ACT_ERRNO");
        AUTO_JSON json_t *bpf = translated(profile, (const char *const[]){"CAP_BPF", NULL});
        assert_string_equal(action_of(bpf, "bpf"), "SCMP_ACT_ALLOW");
        assert_string_equal(action_of(bpf, "mount"), "SCMP_ACT_ERRNO");
}

/* A misspelt name would allow or keep back nothing, and no runtime says so. */
static void every_name_is_a_system_call(void **state)
{
        (void)state;
        static const char *const newer[] = {/* than the library of Debian 12 */
                                            "cachestat",        "fchmodat2",
                                            "file_getattr",     "futex_requeue",
                                            "futex_wait",       "futex_wake",
                                            "getxattrat",       "listmount",
                                            "listxattrat",      "lsm_get_self_attr",
                                            "lsm_list_modules", "lsm_set_self_attr",
                                            "map_shadow_stack", "mseal",
                                            "removexattrat",    "setxattrat",
                                            "statmount",        "uretprobe"};
        AUTO_JSON json_t *profile = seccomp_profile_default();
        size_t index, at;
        const json_t *rule, *name;
        json_array_foreach (json_object_get(profile, "syscalls"), index, rule) {
                json_array_foreach (json_object_get(rule, "names"), at, name) {
                        const char *call = json_string_value(name);
                        bool known = seccomp_syscall_resolve_name(call) != __NR_SCMP_ERROR;
                        for (size_t i = 0; i < sizeof newer / sizeof *newer; i++)
                                known = known || strcmp(newer[i], call) == 0;
                        if (!known)
                                fail_msg("%s is no system call", call);
                }
        }
}

static void a_foreign_profile_is_guarded(void **state)
{
        (void)state;
        AUTO_JSON json_t *profile =
                parsed("{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":["
                       "{\"names\":[\"clone\",\"read\",\"clone3\",\"unshare\"],"
                       "\"action\":\"SCMP_ACT_ALLOW\"},"
                       "{\"name\":\"unshare\",\"action\":\"SCMP_ACT_ALLOW\"}]}");
        seccomp_profile_guard(profile);
        AUTO_JSON json_t *plain = translated(profile, nothing);
        assert_string_equal(action_of(plain, "read"), "SCMP_ACT_ALLOW");
        assert_string_equal(action_of(plain, "unshare"), "SCMP_ACT_ERRNO");
        assert_string_equal(action_of(plain, "clone"), "SCMP_ACT_ERRNO");
        assert_string_equal(action_of(plain, "clone3"), "SCMP_ACT_ERRNO");
        AUTO_JSON json_t *admin = translated(profile, (const char *const[]){"CAP_SYS_ADMIN", NULL});
        assert_string_equal(action_of(admin, "unshare"), "SCMP_ACT_ALLOW");
        assert_string_equal(action_of(admin, "clone"), "SCMP_ACT_ALLOW");
        AUTO_JSON json_t *empty = parsed("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
        seccomp_profile_guard(empty);
        AUTO_JSON json_t *guarded = translated(empty, nothing);
        assert_string_equal(action_of(guarded, "unshare"), "SCMP_ACT_ERRNO");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(simple),
                cmocka_unit_test(what_the_default_says_is_left_out),
                cmocka_unit_test(conditions),
                cmocka_unit_test(architectures),
                cmocka_unit_test(broken),
                cmocka_unit_test(our_default),
                cmocka_unit_test(every_name_is_a_system_call),
                cmocka_unit_test(a_foreign_profile_is_guarded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
