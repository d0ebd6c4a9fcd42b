/* Checks of what pods and containers say of their confinement. */
#include <string.h>

#include "cri/confinement.h"
#include "cri/validate_private.h"

#define CAPABILITIES_MAX 1024 /* names in one list: there are 41 */

/* Each is a part of a label, whose parts are separated by colons; a level alone has some itself. */
int validate_selinux(const Runtime__V1__SELinuxOption *options, const char *field,
                     struct error *err)
{
        if (!options)
                return 0;
        const struct {
                const char *name, *value;
                bool level;
        } parts[] = {
                {"user", options->user, false},
                {"role", options->role, false},
                {"type", options->type, false},
                {"level", options->level, true},
        };
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
                const char *value = parts[i].value;
                if (strlen(value) > VALIDATE_NAME_MAX || strpbrk(value, " \t\n\"\\") ||
                    (!parts[i].level && strchr(value, ':')))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s.%s: not a part of an SELinux label", field,
                                         parts[i].name);
        }
        return 0;
}

int validate_profile(const Runtime__V1__SecurityProfile *profile, const char *text,
                     const char *field, struct error *err)
{
        struct confinement_choice ignored;
        return confinement_choice(profile, text, field, &ignored, err);
}

static int check_paths(char **paths, size_t count, const char *field, struct error *err)
{
        int result = 0;
        if (count > VALIDATE_LIST_MAX)
                return validate_invalid(err, field, "too many paths");
        for (size_t i = 0; result == 0 && i < count; i++) {
                result = validate_absolute(paths[i], field, err);
                if (result == 0 && validate_has_dot_dot(paths[i]))
                        result = validate_invalid(err, field, "it contains \"..\"");
        }
        return result;
}

static int check_lists(const Runtime__V1__LinuxContainerSecurityContext *security,
                       struct error *err)
{
        const Runtime__V1__Capability *wanted = security->capabilities;
        if (wanted && (wanted->n_add_capabilities > CAPABILITIES_MAX ||
                       wanted->n_drop_capabilities > CAPABILITIES_MAX ||
                       wanted->n_add_ambient_capabilities > CAPABILITIES_MAX))
                return validate_invalid(err, "config.linux.security_context.capabilities",
                                        "too many names");
        if (security->n_supplemental_groups > VALIDATE_LIST_MAX)
                return validate_invalid(err, "config.linux.security_context.supplemental_groups",
                                        "too many groups");
        if (security->supplemental_groups_policy > RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict)
                return validate_invalid(err,
                                        "config.linux.security_context.supplemental_groups_policy",
                                        "it is Merge or Strict");
        int result = check_paths(security->masked_paths, security->n_masked_paths,
                                 "config.linux.security_context.masked_paths", err);
        if (result == 0)
                result = check_paths(security->readonly_paths, security->n_readonly_paths,
                                     "config.linux.security_context.readonly_paths", err);
        return result;
}

int validate_security(const Runtime__V1__LinuxContainerSecurityContext *security, struct error *err)
{
        int result = validate_profile(security->seccomp, security->seccomp_profile_path,
                                      "config.linux.security_context.seccomp", err);
        if (result == 0)
                result = validate_profile(security->apparmor, security->apparmor_profile,
                                          "config.linux.security_context.apparmor", err);
        if (result == 0)
                result =
                        validate_namespaces(security->namespace_options,
                                            "config.linux.security_context.namespace_options", err);
        if (result == 0)
                result = validate_selinux(security->selinux_options,
                                          "config.linux.security_context.selinux_options", err);
        if (result == 0)
                result = check_lists(security, err);
        if (result < 0)
                return result;
        if (security->run_as_group && !security->run_as_user && !*security->run_as_username)
                return validate_invalid(err, "config.linux.security_context.run_as_group",
                                        "it needs run_as_user or run_as_username");
        return 0;
}

/* Its numbers are those of the process that would hold the sandbox; there is none. */
int validate_pod_security(const Runtime__V1__LinuxSandboxSecurityContext *security,
                          struct error *err)
{
        static const char user[] = "config.linux.security_context.run_as_user";
        static const char group[] = "config.linux.security_context.run_as_group";
        if (security->run_as_user &&
            (security->run_as_user->value < 0 || security->run_as_user->value > VALIDATE_ID_MAX))
                return validate_invalid(err, user, "not a user");
        if (security->run_as_group && !security->run_as_user)
                return validate_invalid(err, group, "it needs run_as_user");
        if (security->run_as_group &&
            (security->run_as_group->value < 0 || security->run_as_group->value > VALIDATE_ID_MAX))
                return validate_invalid(err, group, "not a group");
        if (security->n_supplemental_groups > VALIDATE_LIST_MAX)
                return validate_invalid(err, "config.linux.security_context.supplemental_groups",
                                        "too many groups");
        int result = validate_namespaces(security->namespace_options,
                                         "config.linux.security_context.namespace_options", err);
        if (result == 0)
                result = validate_selinux(security->selinux_options,
                                          "config.linux.security_context.selinux_options", err);
        if (result == 0)
                result = validate_profile(security->seccomp, security->seccomp_profile_path,
                                          "config.linux.security_context.seccomp", err);
        return result;
}
