/* What a container's process may: capabilities, and what of the kernel is hidden from it. */
#include "cri/container_spec.h"

static int set_capabilities(struct container_spec *draft)
{
        const Runtime__V1__Capability *wanted = draft->security->capabilities;
        const char *const *set;
        if (draft->security->privileged) {
                set = spec_capabilities_all(draft->arena);
        } else {
                int result = spec_capabilities_apply(
                        draft->arena, NULL, wanted ? wanted->add_capabilities : NULL,
                        wanted ? wanted->n_add_capabilities : 0,
                        wanted ? wanted->drop_capabilities : NULL,
                        wanted ? wanted->n_drop_capabilities : 0, &set, draft->err);
                if (result < 0)
                        return error_context(draft->err,
                                             "config.linux.security_context.capabilities");
        }
        draft->spec.capabilities =
                (struct spec_capabilities){.bounding = set, .effective = set, .permitted = set};
        return 0;
}

static const char *const *path_list(struct container_spec *draft, char **paths, size_t count)
{
        const char **list = arena_array(draft->arena, count + 1, sizeof *list);
        for (size_t i = 0; i < count; i++)
                list[i] = paths[i];
        return list;
}

static void set_confinement(struct container_spec *draft)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = draft->security;
        draft->spec.no_new_privileges = security->no_new_privs;
        draft->spec.root_readonly = security->readonly_rootfs;
        if (security->privileged)
                return;
        /* An empty list from a client that knows the fields means unmasked; without any security
         * context it is the default. */
        bool said = draft->config->linux && draft->config->linux->security_context;
        draft->spec.masked_paths =
                said ? path_list(draft, security->masked_paths, security->n_masked_paths)
                     : SPEC_MASKED_PATHS;
        draft->spec.readonly_paths =
                said ? path_list(draft, security->readonly_paths, security->n_readonly_paths)
                     : SPEC_READONLY_PATHS;
}

int container_spec_security(struct container_spec *draft)
{
        set_confinement(draft);
        return set_capabilities(draft);
}
