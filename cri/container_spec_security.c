/* What a container's process may: capabilities, profiles, and what of the kernel is hidden from it.
 */
#include "cri/container_spec.h"

#include <string.h>

/* What is asked for as ambient is in all sets: the kernel takes it in no other way. */
static int set_unprivileged(struct container_spec *draft)
{
        const Runtime__V1__Capability *wanted = draft->security->capabilities;
        const struct spec_capability_request request = {
                .defaults = (const char *const *)node.config->runtime.default_capabilities,
                .add = wanted ? wanted->add_capabilities : NULL,
                .add_count = wanted ? wanted->n_add_capabilities : 0,
                .drop = wanted ? wanted->drop_capabilities : NULL,
                .drop_count = wanted ? wanted->n_drop_capabilities : 0,
                .ambient = wanted ? wanted->add_ambient_capabilities : NULL,
                .ambient_count = wanted ? wanted->n_add_ambient_capabilities : 0,
                .inheritable = node.config->runtime.add_inheritable_capabilities,
        };
        int result = spec_capabilities_choose(draft->arena, &request, &draft->spec.capabilities,
                                              draft->err);
        return result < 0 ? error_context(draft->err, "config.linux.security_context.capabilities")
                          : 0;
}

static int set_capabilities(struct container_spec *draft)
{
        if (!draft->security->privileged)
                return set_unprivileged(draft);
        const char *const *all = spec_capabilities_all(draft->arena);
        draft->spec.capabilities =
                (struct spec_capabilities){.bounding = all, .effective = all, .permitted = all};
        if (node.config->runtime.add_inheritable_capabilities)
                draft->spec.capabilities.inheritable = all;
        return 0;
}

static bool is_listed(const char *const *list, size_t count, const char *path)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(list[i], path) == 0)
                        return true;
        return false;
}

/*
 * The request's paths and ours. An empty list from a client that knows the field means unmasked:
 * then nothing is hidden.
 */
static const char *const *masked_paths(struct container_spec *draft)
{
        char **wanted = draft->security->masked_paths;
        size_t wanted_count = draft->security->n_masked_paths, count = 0, own = 0;
        while (SPEC_MASKED_PATHS[own])
                own++;
        const char **list = arena_array(draft->arena, own + wanted_count + 1, sizeof *list);
        for (size_t i = 0; i < own && wanted_count; i++)
                list[count++] = SPEC_MASKED_PATHS[i];
        for (size_t i = 0; i < wanted_count; i++)
                if (!is_listed(list, count, wanted[i]))
                        list[count++] = wanted[i];
        return list;
}

static const char *const *readonly_paths(struct container_spec *draft)
{
        size_t count = draft->security->n_readonly_paths;
        const char **list = arena_array(draft->arena, count + 1, sizeof *list);
        for (size_t i = 0; i < count; i++)
                list[i] = draft->security->readonly_paths[i];
        return list;
}

static void set_hidden(struct container_spec *draft)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = draft->security;
        draft->spec.no_new_privileges = security->no_new_privs;
        if (security->privileged)
                return;
        /* Without any security context it is the default. */
        bool said = draft->config->linux && draft->config->linux->security_context;
        draft->spec.masked_paths = said ? masked_paths(draft) : SPEC_MASKED_PATHS;
        draft->spec.readonly_paths = said ? readonly_paths(draft) : SPEC_READONLY_PATHS;
}

int container_spec_security(struct container_spec *draft)
{
        const struct confinement *confinement = draft->confinement;
        json_t *seccomp = NULL;
        set_hidden(draft);
        int result = set_capabilities(draft);
        if (result == 0)
                result = confinement_seccomp(draft->container, confinement,
                                             draft->spec.capabilities.bounding, &seccomp,
                                             draft->err);
        if (result == 0)
                result = container_spec_relabel(draft);
        draft->seccomp = seccomp;
        draft->spec.seccomp = seccomp;
        draft->spec.apparmor_profile = confinement->apparmor_profile;
        draft->spec.selinux_label = confinement->labels.process;
        draft->spec.mount_label = confinement->labels.mount;
        return result;
}
