/* The CDI devices of a container's specification: of the request, and of its annotations. */
#include "cri/container_spec.h"

#include <string.h>

#include "base/log.h"
#include "oci/cdi.h"

#define PREFIX "cdi.k8s.io/"

struct names {
        const char **list;
        size_t count;
};

static int add_name(struct container_spec *draft, struct names *names, const char *name,
                    const char *where)
{
        if (!cdi_is_name(name))
                return error_set(draft->err, ERROR_INVALID_ARGUMENT,
                                 "%s: \"%.200s\" is not VENDOR/CLASS=NAME", where, name);
        /* For a while both ways are taken to ask for one device. */
        for (size_t i = 0; i < names->count; i++)
                if (strcmp(names->list[i], name) == 0)
                        return 0;
        names->list[names->count++] = name;
        return 0;
}

static bool is_request(const Runtime__V1__ContainerConfig__AnnotationsEntry *annotation)
{
        return strncmp(annotation->key, PREFIX, strlen(PREFIX)) == 0;
}

/* How many names there are at most. */
static size_t count_names(const Runtime__V1__ContainerConfig *config)
{
        size_t count = config->n_cdi_devices;
        for (size_t i = 0; i < config->n_annotations; i++) {
                if (!is_request(config->annotations[i]))
                        continue;
                count++;
                for (const char *at = config->annotations[i]->value; (at = strchr(at, ',')); at++)
                        count++;
        }
        return count;
}

static int collect(struct container_spec *draft, struct names *names)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        int result = 0;
        for (size_t i = 0; i < config->n_cdi_devices && result == 0; i++)
                result = add_name(draft, names, config->cdi_devices[i]->name, "config.CDI_devices");
        for (size_t i = 0; i < config->n_annotations && result == 0; i++) {
                if (!is_request(config->annotations[i]))
                        continue;
                char *rest = arena_strdup(draft->arena, config->annotations[i]->value), *name;
                while (result == 0 && (name = strsep(&rest, ",")))
                        result = add_name(draft, names, name, config->annotations[i]->key);
        }
        return result;
}

int container_spec_cdi(struct container_spec *draft)
{
        size_t most = count_names(draft->config);
        if (!most)
                return 0;
        struct names names = {.list = arena_array(draft->arena, most, sizeof *names.list)};
        int result = collect(draft, &names);
        if (result < 0)
                return result;
        const char *complaints;
        result = cdi_inject(node.config->runtime.cdi_spec_dirs, names.list, names.count,
                            draft->arena, &draft->spec, &complaints, draft->err);
        if (complaints)
                log_warning("CDI specifications are passed over", "container", draft->container->id,
                            "reason", complaints, NULL);
        return result < 0 ? error_context(draft->err, "config.CDI_devices") : 0;
}
