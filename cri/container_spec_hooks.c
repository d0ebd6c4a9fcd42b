/* The OCI hooks of a container's specification, as the node's folders say. */
#include "cri/container_spec.h"

#include "base/log.h"
#include "oci/hook.h"

void container_spec_hooks(struct container_spec *draft)
{
        struct hook_question question = {
                .command = draft->spec.args[0],
                .annotations = draft->asked,
                .annotation_count = draft->asked_count,
                .has_bind_mounts = draft->config->n_mounts > 0,
        };
        const char *complaints;
        hook_select(node.config->runtime.hooks_dir, &question, draft->arena, &draft->spec,
                    &complaints);
        if (complaints)
                log_warning("OCI hooks are passed over", "container", draft->container->id,
                            "reason", complaints, NULL);
}
