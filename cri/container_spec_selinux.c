/* Volumes get the label by which the container's processes may use them. */
#include <string.h>

#include "base/clock.h"
#include "cri/annotation.h"
#include "cri/container_spec.h"
#include "cri/image_volume.h"

static bool is_super(const Runtime__V1__SELinuxOption *options)
{
        return options && strcmp(options->type, SELINUX_SUPER_TYPE) == 0;
}

/* Nothing is kept from such a container, whatever label it has. */
static bool is_super_privileged(const struct container_spec *draft)
{
        const Runtime__V1__LinuxPodSandboxConfig *config = pod_config(draft->pod)->linux;
        const Runtime__V1__SELinuxOption *own = draft->security->selinux_options;
        if (own && *own->type)
                return is_super(own);
        return config && config->security_context &&
               is_super(config->security_context->selinux_options);
}

int container_spec_relabel(struct container_spec *draft)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        const char *label = draft->confinement->labels.mount;
        if (!label || is_super_privileged(draft))
                return 0;
        struct selinux_relabel job = {
                .label = label,
                .trust_top = annotation_is_true(
                        annotation_of_pod(draft->pod, "try-skip-volume-selinux-label.crio.io")),
                .deadline = clock_after(node.config->runtime.create_timeout * NSEC_PER_SEC),
        };
        for (size_t i = 0; i < config->n_mounts; i++) {
                if (!config->mounts[i]->selinux_relabel || image_volume_is(config->mounts[i]))
                        continue;
                job.path = config->mounts[i]->host_path;
                int result = selinux_relabel(&job, draft->err);
                if (result < 0)
                        return error_context(draft->err, "config.mounts");
        }
        return 0;
}
