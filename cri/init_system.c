#include "cri/init_system.h"

#include <string.h>

/* The first of a container's arguments, in the order of container_spec_process.c; or null. */
static const char *first_argument(const Runtime__V1__ContainerConfig *config,
                                  const struct image_config *image)
{
        if (config->n_command)
                return config->command[0];
        if (image->entrypoint && image->entrypoint[0])
                return image->entrypoint[0];
        if (config->n_args)
                return config->args[0];
        return image->cmd ? image->cmd[0] : NULL;
}

bool init_system_runs(const Runtime__V1__ContainerConfig *config, const struct image_config *image)
{
        const char *program = first_argument(config, image);
        if (!program)
                return false;
        const char *slash = strrchr(program, '/');
        return strcmp(slash ? slash + 1 : program, "systemd") == 0 ||
               strstr(program, "/sbin/init") != NULL;
}
