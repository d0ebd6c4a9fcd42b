/* Any text as a seccomp profile: it is refused, or can be translated for any container, guarded or
 * not. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "oci/seccomp_profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void translate(const json_t *profile, const char *const *capabilities)
{
        AUTO_JSON json_t *seccomp = NULL;
        struct error err = {0};
        assert(seccomp_profile_translate(profile, capabilities, "profile", &seccomp, &err) == 0);
        assert(json_is_string(json_object_get(seccomp, "defaultAction")));
        size_t index;
        const json_t *rule;
        json_array_foreach (json_object_get(seccomp, "syscalls"), index, rule) {
                assert(json_array_size(json_object_get(rule, "names")) > 0);
                assert(json_is_string(json_object_get(rule, "action")));
                assert(!json_object_get(rule, "includes") && !json_object_get(rule, "excludes"));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const some[] = {"CAP_CHOWN", "CAP_SYS_ADMIN", NULL};
        AUTO_JSON json_t *profile = NULL;
        struct error err = {0};
        if (seccomp_profile_parse((const char *)data, size, "profile", &profile, &err) < 0) {
                assert(err.code == ERROR_INVALID_ARGUMENT);
                return 0;
        }
        translate(profile, NULL);
        translate(profile, some);
        seccomp_profile_guard(profile);
        translate(profile, some + 2);
        return 0;
}
