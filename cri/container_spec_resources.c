/* The cgroup limits of a container's specification. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/container_resources.h"
#include "cri/container_spec.h"
#include "cri/lookup.h"
#include "cri/tuning.h"
#include "oci/resource_class.h"

/* ---- classes: the container's own annotation, the pod's for it, the pod's for all ---- */

struct class_names {
        const char *own;        /* "io.kubernetes.cri.blockio-class" */
        const char *pod_prefix; /* "blockio.resources.beta.kubernetes.io" */
};

static const char *find_class(const struct container_spec *draft, const struct class_names *names,
                              enum resource_class_origin *origin)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        const Runtime__V1__PodSandboxConfig *pod = pod_config(draft->pod);
        const char *class = NULL;
        *origin = RESOURCE_CLASS_OF_CONTAINER;
        if (annotation_may_pass(node.config, annotation_handler(draft->pod), names->own))
                class = lookup_value(config->annotations, config->n_annotations, names->own);
        if (class)
                return class;
        *origin = RESOURCE_CLASS_OF_POD;
        AUTO_FREE char *one = xprintf("%s/container.%s", names->pod_prefix, config->metadata->name);
        AUTO_FREE char *all = xprintf("%s/pod", names->pod_prefix);
        class = lookup_value(pod->annotations, pod->n_annotations, one);
        return class ? class : lookup_value(pod->annotations, pod->n_annotations, all);
}

static int set_block_io(struct container_spec *draft)
{
        static const struct class_names names = {"io.kubernetes.cri.blockio-class",
                                                 "blockio.resources.beta.kubernetes.io"};
        const char *file = node.config->runtime.blockio_config_file;
        enum resource_class_origin origin;
        const char *class = find_class(draft, &names, &origin);
        if (!class || !*class)
                return 0;
        if (!*file)
                return error_set(draft->err, ERROR_FAILED_PRECONDITION,
                                 "class \"%.100s\" of block I/O: this node has none "
                                 "(runtime.blockio_config_file)",
                                 class);
        int result = resource_class_block_io(file, class, RESOURCE_CLASS_BLOCKS, draft->arena,
                                             &draft->spec.resources.block_io, draft->err);
        return result < 0 ? error_context(draft->err, "class of block I/O") : 0;
}

static int set_rdt(struct container_spec *draft)
{
        static const struct class_names names = {"io.kubernetes.cri.rdt-class",
                                                 "rdt.resources.beta.kubernetes.io"};
        const char *file = node.config->runtime.rdt_config_file;
        enum resource_class_origin origin;
        const char *class = find_class(draft, &names, &origin);
        if (!class || !*class)
                return 0;
        if (!*file)
                return error_set(draft->err, ERROR_FAILED_PRECONDITION,
                                 "RDT class \"%.100s\": this node has none "
                                 "(runtime.rdt_config_file)",
                                 class);
        AUTO_FREE char *groups = xprintf("%s/fs/resctrl", node.sys);
        int result = resource_class_check_rdt(file, class, origin, groups, draft->err);
        if (result < 0)
                return error_context(draft->err, "RDT class");
        draft->spec.rdt_class = class;
        return 0;
}

static void set_exec_affinity(struct container_spec *draft)
{
        struct cpu_list first;
        if (!tuning_exec_processor(draft->container, &first))
                return;
        draft->spec.exec_affinity = container_spec_keep(draft, cpu_list_text(&first));
}

int container_spec_resources(struct container_spec *draft)
{
        const resources_message *resources = draft->container->resources;
        container_resources_spec(draft->container, resources, draft->arena, &draft->spec.resources);
        draft->spec.has_oom_score_adj = draft->config->linux && draft->config->linux->resources;
        draft->spec.oom_score_adj = (int)resources->oom_score_adj;
        set_exec_affinity(draft);
        int result = set_block_io(draft);
        return result < 0 ? result : set_rdt(draft);
}
