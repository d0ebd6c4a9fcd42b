/* The process of a container's specification: its command, environment and user. */
#include "cri/container_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cri/tuning.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/*
 * A command takes the place of the image's entrypoint, and with it goes the image's cmd; args alone
 * take the place of the image's cmd.
 */
static int set_arguments(struct container_spec *draft)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        const struct image_config *image = draft->image;
        char **first = config->command;
        size_t first_count = config->n_command;
        char **rest = config->args;
        size_t rest_count = config->n_args;
        if (!first_count) {
                first = image->entrypoint;
                first_count = strv_length(image->entrypoint);
                if (!rest_count) {
                        rest = image->cmd;
                        rest_count = strv_length(image->cmd);
                }
        }
        if (!first_count && !rest_count)
                return error_set(draft->err, ERROR_INVALID_ARGUMENT,
                                 "config.command: no command, and the image has none either");
        char **args = arena_array(draft->arena, first_count + rest_count + 1, sizeof *args);
        for (size_t i = 0; i < first_count; i++)
                args[i] = first[i];
        for (size_t i = 0; i < rest_count; i++)
                args[first_count + i] = rest[i];
        draft->spec.args = args;
        return 0;
}

static size_t name_length(const char *variable)
{
        return strcspn(variable, "=");
}

/* Adds NAME=value, in the place of an earlier one of that name. */
static void set_variable(char **env, size_t *count, char *variable)
{
        size_t length = name_length(variable);
        for (size_t i = 0; i < *count; i++) {
                if (name_length(env[i]) == length && strncmp(env[i], variable, length) == 0) {
                        env[i] = variable;
                        return;
                }
        }
        env[(*count)++] = variable;
}

static bool has_variable(char *const *env, size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++)
                if (name_length(env[i]) == strlen(name) && strncmp(env[i], name, strlen(name)) == 0)
                        return true;
        return false;
}

/* What the request and the image say of these themselves goes first. */
static void add_tuning(struct container_spec *draft, char **env, size_t *count)
{
        char *variables[TUNING_VARIABLES + 1];
        struct tuning tuning = {0};
        tuning_read(draft->container, &tuning, NULL);
        tuning_variables(&tuning, draft->container, draft->arena, variables);
        for (size_t i = 0; variables[i]; i++) {
                AUTO_FREE char *name = xstrndup(variables[i], name_length(variables[i]));
                if (!has_variable(env, *count, name))
                        env[(*count)++] = variables[i];
        }
}

static void set_environment(struct container_spec *draft, const struct user *user,
                            const char *hostname)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        size_t image_count = strv_length(draft->image->environment);
        char **env = arena_array(draft->arena,
                                 image_count + config->n_envs + TUNING_VARIABLES + 5, sizeof *env);
        size_t count = 0;
        for (size_t i = 0; i < image_count; i++)
                set_variable(env, &count, draft->image->environment[i]);
        for (size_t i = 0; i < config->n_envs; i++) {
                const Runtime__V1__KeyValue *variable = config->envs[i];
                set_variable(env, &count,
                             arena_printf(draft->arena, "%s=%.*s", variable->key,
                                          (int)variable->value.len,
                                          variable->value.len ? (const char *)variable->value.data
                                                              : ""));
        }
        if (!has_variable(env, count, "PATH"))
                env[count++] = (char *)DEFAULT_PATH;
        if (!has_variable(env, count, "HOME"))
                env[count++] = arena_printf(draft->arena, "HOME=%s", user->home);
        if (!has_variable(env, count, "HOSTNAME"))
                env[count++] = arena_printf(draft->arena, "HOSTNAME=%s", hostname);
        if (config->tty && !has_variable(env, count, "TERM"))
                env[count++] = (char *)"TERM=xterm";
        add_tuning(draft, env, &count);
        draft->spec.env = env;
}

static int set_user(struct container_spec *draft, struct user *user)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = draft->security;
        AUTO_FREE char *path = container_run_path(draft->container, "rootfs");
        AUTO_FD int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return error_errno(draft->err, errno, "open %s", path);
        struct user_request request = {
                .has_uid = security->run_as_user != NULL,
                .uid = security->run_as_user ? security->run_as_user->value : 0,
                .name = security->run_as_username,
                .image_user = draft->image->user,
                .has_gid = security->run_as_group != NULL,
                .gid = security->run_as_group ? security->run_as_group->value : 0,
                .supplemental_groups = security->supplemental_groups,
                .supplemental_group_count = security->n_supplemental_groups,
                .strict = security->supplemental_groups_policy ==
                          RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict,
        };
        int result = user_resolve(root, &request, user, draft->err);
        if (result < 0)
                return result;
        draft->spec.uid = user->uid;
        draft->spec.gid = user->gid;
        draft->spec.additional_gids = user->gids;
        draft->spec.additional_gid_count = user->gid_count;
        return 0;
}

int container_spec_process(struct container_spec *draft, const char *hostname, struct user *user)
{
        int result = set_arguments(draft);
        if (result == 0)
                result = set_user(draft, user);
        if (result == 0)
                set_environment(draft, user, hostname);
        return result;
}
