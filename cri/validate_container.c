#include "cri/validate_private.h"

#include <string.h>

#include "cri/resources.h"
#include "oci/device.h"

#define ARGUMENT_MAX (128 * 1024) /* bytes with the final zero: the kernel's MAX_ARG_STRLEN */

static int check_device(const Runtime__V1__Device *device, struct error *err)
{
        int result = validate_absolute(device->host_path, "config.devices.host_path", err);
        if (result == 0 && *device->container_path)
                result = validate_absolute(device->container_path, "config.devices.container_path",
                                           err);
        if (result == 0 && validate_has_dot_dot(device->container_path))
                result = validate_invalid(err, "config.devices.container_path",
                                          "it contains \"..\"");
        if (result == 0 && *device->permissions && !device_is_access(device->permissions))
                result = error_set(err, ERROR_INVALID_ARGUMENT,
                                   "config.devices.permissions: \"%.40s\" is not of the letters r, "
                                   "w and m",
                                   device->permissions);
        return result;
}

/* The kernel's MAX_ARG_STRLEN: with a longer one the container would be made and then fail to
 * start. */
static int check_words_of_command(char **words, size_t count, const char *field, struct error *err)
{
        for (size_t i = 0; i < count; i++)
                if (strlen(words[i]) >= ARGUMENT_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "%s: an argument of %zu bytes, the kernel takes %d", field,
                                         strlen(words[i]), ARGUMENT_MAX - 1);
        return 0;
}

static int check_variables(const Runtime__V1__ContainerConfig *config, struct error *err)
{
        for (size_t i = 0; i < config->n_envs; i++) {
                const Runtime__V1__KeyValue *variable = config->envs[i];
                if (!*variable->key || strchr(variable->key, '='))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.envs: \"%s\" is not a variable's name",
                                         variable->key);
                if (strlen(variable->key) + variable->value.len + 2 > ARGUMENT_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.envs: the value of %s is too long", variable->key);
                if (variable->value.len && memchr(variable->value.data, '\0', variable->value.len))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "config.envs: the value of %s contains a zero byte",
                                         variable->key);
        }
        return 0;
}

int validate_container(const Runtime__V1__CreateContainerRequest *request, struct error *err)
{
        const Runtime__V1__ContainerConfig *config = request->config;
        if (!*request->pod_sandbox_id)
                return validate_invalid(err, "pod_sandbox_id", "it must not be empty");
        if (!config)
                return validate_invalid(err, "config", "it is missing");
        if (!config->metadata)
                return validate_invalid(err, "config.metadata", "it is missing");
        int result = validate_name(config->metadata->name, "config.metadata.name", err);
        if (result < 0)
                return result;
        if (!config->image || !*config->image->image)
                return validate_invalid(err, "config.image.image", "it must not be empty");
        if (*config->log_path == '/')
                return validate_invalid(err, "config.log_path",
                                        "it must be relative to the pod's log_directory");
        if (config->windows)
                return validate_unsupported(err, "config.windows", "Windows containers are");
        if (validate_has_dot_dot(config->log_path))
                return validate_invalid(err, "config.log_path", "it contains \"..\"");
        if (*config->working_dir && *config->working_dir != '/')
                return validate_invalid(err, "config.working_dir", "not an absolute path");
        for (size_t i = 0; i < config->n_devices; i++) {
                result = check_device(config->devices[i], err);
                if (result < 0)
                        return result;
        }
        if (config->n_envs > VALIDATE_LIST_MAX || config->n_mounts > VALIDATE_LIST_MAX ||
            config->n_command > VALIDATE_LIST_MAX || config->n_args > VALIDATE_LIST_MAX ||
            config->n_labels > VALIDATE_LIST_MAX || config->n_annotations > VALIDATE_LIST_MAX ||
            config->n_devices > VALIDATE_LIST_MAX || config->n_cdi_devices > VALIDATE_LIST_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "config: a list has more than %d entries", VALIDATE_LIST_MAX);
        result = check_variables(config, err);
        if (result == 0)
                result = check_words_of_command(config->command, config->n_command,
                                                "config.command", err);
        if (result == 0)
                result = check_words_of_command(config->args, config->n_args, "config.args", err);
        if (result == 0 && config->linux && config->linux->resources)
                result =
                        resources_validate(config->linux->resources, "config.linux.resources", err);
        for (size_t i = 0; result == 0 && i < config->n_mounts; i++)
                result = validate_mount(config->mounts[i], err);
        if (result == 0 && config->linux && config->linux->security_context)
                result = validate_security(config->linux->security_context, err);
        return result;
}
