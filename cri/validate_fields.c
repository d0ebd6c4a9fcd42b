/* Checks that pods and containers share. */
#include "cri/validate_private.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "oci/idmap.h"

int validate_invalid(struct error *err, const char *field, const char *why)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s", field, why);
}

int validate_unsupported(struct error *err, const char *field, const char *what)
{
        return error_set(err, ERROR_UNIMPLEMENTED, "%s: %s not supported by this version of crisp",
                         field, what);
}

int validate_name(const char *value, const char *field, struct error *err)
{
        if (!*value)
                return validate_invalid(err, field, "it must not be empty");
        if (strlen(value) > VALIDATE_NAME_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: longer than %d bytes", field,
                                 VALIDATE_NAME_MAX);
        if (strchr(value, '/'))
                return validate_invalid(err, field, "it must not contain a slash");
        return 0;
}

bool validate_has_dot_dot(const char *path)
{
        for (const char *part = path; part; part = strchr(part, '/')) {
                part += *part == '/';
                if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || !part[2]))
                        return true;
        }
        return false;
}

int validate_absolute(const char *path, const char *field, struct error *err)
{
        if (*path != '/')
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: \"%s\" is not an absolute path",
                                 field, path);
        if (strlen(path) >= PATH_MAX)
                return validate_invalid(err, field, "the path is too long");
        return 0;
}

static int check_ids(Runtime__V1__IDMapping *const *mappings, size_t count, struct error *err)
{
        AUTO_FREE struct spec_id_map *maps = xcalloc(count + 1, sizeof *maps);
        for (size_t i = 0; i < count; i++)
                maps[i] = (struct spec_id_map){.container_id = mappings[i]->container_id,
                                               .host_id = mappings[i]->host_id,
                                               .length = mappings[i]->length};
        return idmap_check(maps, count, err);
}

/* The kernel mounts neither /proc nor message queues of the host for users of another namespace. */
static int validate_users(const Runtime__V1__NamespaceOption *options, const char *field,
                          struct error *err)
{
        const Runtime__V1__UserNamespace *users = options->userns_options;
        if (!users || users->mode == RUNTIME__V1__NAMESPACE_MODE__NODE)
                return users && (users->n_uids || users->n_gids)
                               ? error_set(err, ERROR_INVALID_ARGUMENT,
                                           "%s.userns_options: mode NODE, and mappings", field)
                               : 0;
        if (users->mode != RUNTIME__V1__NAMESPACE_MODE__POD)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.userns_options.mode: it is POD or NODE", field);
        int result = check_ids(users->uids, users->n_uids, err);
        if (result < 0)
                return error_context(err, "%s.userns_options.uids", field);
        result = check_ids(users->gids, users->n_gids, err);
        if (result < 0)
                return error_context(err, "%s.userns_options.gids", field);
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__NODE ||
            options->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.%s: NODE, with a user namespace of the pod's own", field,
                                 options->pid == RUNTIME__V1__NAMESPACE_MODE__NODE ? "pid" : "ipc");
        return 0;
}

int validate_namespaces(const Runtime__V1__NamespaceOption *options, const char *field,
                        struct error *err)
{
        if (!options)
                return 0;
        if (options->pid == RUNTIME__V1__NAMESPACE_MODE__TARGET && !*options->target_id)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.target_id: pid is TARGET, and no container is named", field);
        if (options->network != RUNTIME__V1__NAMESPACE_MODE__POD &&
            options->network != RUNTIME__V1__NAMESPACE_MODE__NODE)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s.network: it is POD or NODE",
                                 field);
        if (options->ipc != RUNTIME__V1__NAMESPACE_MODE__POD &&
            options->ipc != RUNTIME__V1__NAMESPACE_MODE__NODE)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s.ipc: it is POD or NODE", field);
        if (options->pid > RUNTIME__V1__NAMESPACE_MODE__TARGET)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s.pid: it is POD, CONTAINER or NODE", field);
        return validate_users(options, field, err);
}
