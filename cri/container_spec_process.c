/* The process of a container's specification: its command, environment and user. */
#include "cri/container_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/pod_users.h"
#include "cri/tuning.h"
#include "oci/ulimit.h"

#define UMASK "umask.crio.io"

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
        char *const *defaults = node.config->runtime.default_env;
        size_t default_count = strv_length((char **)defaults);
        char **env = arena_array(
                draft->arena, default_count + image_count + config->n_envs + TUNING_VARIABLES + 6,
                sizeof *env);
        size_t count = 0;
        for (size_t i = 0; i < default_count; i++)
                set_variable(env, &count, defaults[i]);
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
        /* By it systemd knows that it is not the node's. */
        if (draft->init_system && !has_variable(env, count, "container"))
                env[count++] = (char *)"container=crisp";
        add_tuning(draft, env, &count);
        draft->spec.env = env;
}

static int set_user(struct container_spec *draft, int root, struct user *user)
{
        const Runtime__V1__LinuxContainerSecurityContext *security = draft->security;
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
        container_spec_translate(draft, user);
        draft->spec.uid = user->uid;
        draft->spec.gid = user->gid;
        draft->spec.additional_gids = user->gids;
        draft->spec.additional_gid_count = user->gid_count;
        return 0;
}

static int set_limits(struct container_spec *draft)
{
        char *const *texts = node.config->runtime.default_ulimits;
        size_t count = strv_length((char **)texts);
        struct spec_rlimit *limits = arena_array(draft->arena, count + 1, sizeof *limits);
        for (size_t i = 0; i < count; i++) {
                int result = ulimit_parse(texts[i], &limits[i], draft->err);
                if (result < 0)
                        return error_context(draft->err, "runtime.default_ulimits");
        }
        draft->spec.rlimits = limits;
        draft->spec.rlimit_count = count;
        return 0;
}

static int set_umask(struct container_spec *draft)
{
        const char *value = annotation_of_container(draft->container, UMASK);
        if (!value || !*value)
                return 0;
        size_t length = strlen(value);
        if (length > 4 || strspn(value, "01234567") != length)
                return error_set(draft->err, ERROR_INVALID_ARGUMENT,
                                 "annotation %s: \"%.40s\" is not one to four octal digits", UMASK,
                                 value);
        draft->spec.has_umask = true;
        draft->spec.umask = (uint32_t)strtoul(value, NULL, 8);
        return 0;
}

/*
 * The working folder is made where the image has none, as its owner root would do it: here and not
 * by the runtime, so that it is there in a read-only root too, and with whichever runtime. One
 * inside of a volume is for the runtime to make.
 */
static int make_working_folder(struct container_spec *draft, int root)
{
        AUTO_FREE char *path = xstrdup(draft->spec.cwd);
        for (char *at = path + strspn(path, "/"); *at;) {
                char *end = at + strcspn(at, "/"), *next = end + strspn(end, "/");
                bool last = !*next;
                *end = '\0';
                AUTO_FD int there = file_open_in(root, path, O_PATH | O_DIRECTORY, 0, NULL);
                if (there < 0) {
                        *(at - 1) = '\0';
                        AUTO_FD int parent = file_open_in(root, *path ? path : "/",
                                                          O_PATH | O_DIRECTORY, 0, NULL);
                        int result = parent < 0 ? parent : mkdirat(parent, at, 0755);
                        uint32_t uid = 0, gid = 0;
                        pod_users_to_host(draft->pod, &uid, &gid);
                        if (result == 0)
                                result = fchownat(parent, at, uid, gid, AT_SYMLINK_NOFOLLOW);
                        if (result < 0)
                                return error_set(draft->err, ERROR_FAILED_PRECONDITION,
                                                 "working folder %s: it is not there and cannot be "
                                                 "made: %s",
                                                 draft->spec.cwd,
                                                 strerror(parent < 0 ? -parent : errno));
                        *(at - 1) = '/';
                }
                if (!last)
                        *end = '/';
                at = next;
        }
        return 0;
}

int container_spec_process(struct container_spec *draft, const char *hostname, struct user *user)
{
        AUTO_FREE char *path = container_run_path(draft->container, "rootfs");
        AUTO_FD int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return error_errno(draft->err, errno, "open %s", path);
        int result = set_arguments(draft);
        if (result == 0)
                result = set_user(draft, root, user);
        if (result == 0)
                result = set_limits(draft);
        if (result == 0)
                result = set_umask(draft);
        if (result == 0)
                result = make_working_folder(draft, root);
        if (result == 0)
                set_environment(draft, user, hostname);
        return result;
}
