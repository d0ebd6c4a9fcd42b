/* The cgroup limits of a container's specification. */
#include "cri/container_resources.h"
#include "cri/container_spec.h"

void container_spec_resources(struct container_spec *draft)
{
        const resources_message *resources = draft->container->resources;
        container_resources_spec(draft->container, resources, draft->arena,
                                 &draft->spec.resources);
        draft->spec.has_oom_score_adj = draft->config->linux && draft->config->linux->resources;
        draft->spec.oom_score_adj = (int)resources->oom_score_adj;
}
