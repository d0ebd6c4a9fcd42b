/*
 * The annotations of a container's specification: what runtimes, and hooks with their conditions,
 * know of a container beside what is to be run.
 */
#include "cri/container_spec.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "cri/annotation.h"
#include "cri/pod_resources.h"

#define TRACE      "io.containers.trace-syscall"
#define OWN_MAX    32 /* ours, but for the addresses */
#define TIME_BYTES 40

struct pairs {
        struct spec_pair *list;
        size_t count;
};

static void put(struct pairs *pairs, const char *key, const char *value)
{
        pairs->list[pairs->count++] = (struct spec_pair){key, value};
}

/* ---- those of others ---- */

/* A hook that traces system calls finds its switch for one container under a container's name. */
static const char *key_for(const struct container_spec *draft, const char *key)
{
        size_t length = strlen(TRACE);
        return strncmp(key, TRACE "/", length + 1) == 0 &&
                               strcmp(key + length + 1, draft->config->metadata->name) == 0
                       ? TRACE
                       : key;
}

/*
 * A macro, since each kind of entry is a type of its own. What could switch something in the
 * runtime or in a hook passes only where the node lets it.
 */
#define PUT_ALLOWED(draft, pairs, handler, entries, entry_count)                                   \
        do {                                                                                       \
                for (size_t i_ = 0; i_ < (entry_count); i_++)                                      \
                        if (annotation_may_pass(node.config, (handler), (entries)[i_]->key))       \
                                put((pairs), key_for((draft), (entries)[i_]->key),                 \
                                    (entries)[i_]->value);                                         \
        } while (0)

static void put_asked(struct container_spec *draft, struct pairs *pairs)
{
        const struct config_handler *handler = annotation_handler(draft->pod);
        const Runtime__V1__PodSandboxConfig *pod = pod_config(draft->pod);
        char *const *defaults = handler ? handler->default_annotations : NULL;
        for (size_t i = 0; defaults && defaults[i]; i += 2)
                put(pairs, defaults[i], defaults[i + 1]);
        PUT_ALLOWED(draft, pairs, handler, pod->annotations, pod->n_annotations);
        PUT_ALLOWED(draft, pairs, handler, draft->config->annotations,
                    draft->config->n_annotations);
        draft->asked = pairs->list;
        draft->asked_count = pairs->count;
        PUT_ALLOWED(draft, pairs, handler, draft->config->labels, draft->config->n_labels);
}

/* ---- our own, under containerd's and CRI-O's names ---- */

#define JSON_OF(draft, entries, entry_count) json_of(draft, (const void *)(entries), entry_count)

/* Entries of labels and annotations have the same members in the same places. */
static const char *json_of(struct container_spec *draft,
                           Runtime__V1__ContainerConfig__LabelsEntry *const *entries, size_t count)
{
        AUTO_JSON json_t *object = json_object();
        for (size_t i = 0; i < count; i++)
                json_object_set_new(object, entries[i]->key, json_string(entries[i]->value));
        return container_spec_keep(draft, json_text(object));
}

_Static_assert(offsetof(Runtime__V1__ContainerConfig__LabelsEntry, value) ==
                       offsetof(Runtime__V1__ContainerConfig__AnnotationsEntry, value),
               "json_of takes both");

static const char *metadata_json(struct container_spec *draft)
{
        const Runtime__V1__ContainerMetadata *metadata = draft->config->metadata;
        AUTO_JSON json_t *object = json_object();
        json_object_set_new(object, "name", json_string(metadata->name));
        if (metadata->attempt)
                json_object_set_new(object, "attempt", json_integer(metadata->attempt));
        return container_spec_keep(draft, json_text(object));
}

static const char *time_text(struct container_spec *draft, int64_t nanoseconds)
{
        time_t seconds = nanoseconds / NSEC_PER_SEC;
        struct tm parts;
        char text[TIME_BYTES];
        gmtime_r(&seconds, &parts);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
        return arena_printf(draft->arena, "%s.%09" PRId64 "Z", text, nanoseconds % NSEC_PER_SEC);
}

static const char *boolean(bool value)
{
        return value ? "true" : "false";
}

/* As containerd has them; Kata looks at some. */
static void put_cri(struct container_spec *draft, struct pairs *pairs)
{
        const Runtime__V1__PodSandboxMetadata *metadata = pod_config(draft->pod)->metadata;
        put(pairs, "io.kubernetes.cri.container-type", "container");
        put(pairs, "io.kubernetes.cri.sandbox-id", draft->pod->id);
        put(pairs, "io.kubernetes.cri.sandbox-name", metadata->name);
        put(pairs, "io.kubernetes.cri.sandbox-namespace", metadata->namespace_);
        put(pairs, "io.kubernetes.cri.sandbox-uid", metadata->uid);
        put(pairs, "io.kubernetes.cri.container-name", draft->config->metadata->name);
        put(pairs, "io.kubernetes.cri.image-name", draft->container->image_name);
}

#define CRIO "io.kubernetes.cri-o."

static void put_crio(struct container_spec *draft, struct pairs *pairs)
{
        const Runtime__V1__ContainerConfig *config = draft->config;
        const Runtime__V1__PodSandboxMetadata *pod = pod_config(draft->pod)->metadata;
        const struct container *container = draft->container;
        const char *asked = config->image->user_specified_image;
        const char *id = strchr(container->image_id, ':');
        put(pairs, CRIO "ContainerType", "container");
        put(pairs, CRIO "ContainerID", container->id);
        put(pairs, CRIO "SandboxID", draft->pod->id);
        put(pairs, CRIO "SandboxName",
            arena_printf(draft->arena, "k8s_%s_%s_%s_%u", pod->name, pod->namespace_, pod->uid,
                         pod->attempt));
        put(pairs, CRIO "Name",
            arena_printf(draft->arena, "k8s_%s_%s_%s_%s_%u", config->metadata->name, pod->name,
                         pod->namespace_, pod->uid, config->metadata->attempt));
        put(pairs, CRIO "Image", asked && *asked ? asked : config->image->image);
        put(pairs, CRIO "ImageName", container->image_name);
        put(pairs, CRIO "ImageRef", id ? id + 1 : container->image_id);
        put(pairs, CRIO "LogPath", container->log_path ? container->log_path : "");
        put(pairs, CRIO "TTY", boolean(config->tty));
        put(pairs, CRIO "Stdin", boolean(config->stdin));
        put(pairs, CRIO "StdinOnce", boolean(config->stdin_once));
        put(pairs, CRIO "ResolvPath",
            container_spec_keep(draft, pod_path(draft->pod, "resolv.conf")));
        put(pairs, CRIO "MountPoint", draft->spec.root);
        put(pairs, CRIO "Created", time_text(draft, container->created_at));
        put(pairs, CRIO "Metadata", metadata_json(draft));
        put(pairs, CRIO "Labels", JSON_OF(draft, config->labels, config->n_labels));
        put(pairs, CRIO "Annotations", JSON_OF(draft, config->annotations, config->n_annotations));
        put(pairs, "io.container.manager", "crisp");
        for (size_t i = 0; draft->pod->ips && draft->pod->ips[i]; i++)
                put(pairs, arena_printf(draft->arena, CRIO "IP.%zu", i),
                    arena_strdup(draft->arena, draft->pod->ips[i]));
}

void container_spec_annotations(struct container_spec *draft)
{
        const struct config_handler *handler = annotation_handler(draft->pod);
        size_t most = OWN_MAX + POD_RESOURCES_ANNOTATIONS + draft->config->n_annotations +
                      draft->config->n_labels + pod_config(draft->pod)->n_annotations +
                      strv_length(draft->pod->ips) +
                      (handler ? strv_length(handler->default_annotations) / 2 : 0);
        struct pairs pairs = {.list = arena_array(draft->arena, most, sizeof *pairs.list)};
        put_asked(draft, &pairs);
        /* Last, so that nobody gives himself another pod's name: of two with one key the later
         * counts. */
        put_cri(draft, &pairs);
        put_crio(draft, &pairs);
        pairs.count +=
                pod_resources_annotations(draft->pod, draft->arena, pairs.list + pairs.count);
        draft->spec.annotations = pairs.list;
        draft->spec.annotation_count = pairs.count;
}
