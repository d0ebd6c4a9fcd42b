#include "oci/spec.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/spec_private.h"

static size_t depth_of(const char *path)
{
        size_t depth = 0;
        while (*path) {
                path += strspn(path, "/");
                size_t length = strcspn(path, "/");
                if (length && !(length == 1 && path[0] == '.'))
                        depth++;
                path += length;
        }
        return depth;
}

struct ordered_mount {
        const struct spec_mount *mount;
        size_t depth;
};

static int by_depth(const void *a, const void *b)
{
        const struct ordered_mount *left = a, *right = b;
        if (left->depth != right->depth)
                return left->depth < right->depth ? -1 : 1;
        return left->mount < right->mount ? -1 : 1;
}

static json_t *mount_object(struct spec_draft *draft, const struct spec_mount *mount)
{
        json_t *object = json_object();
        if (mount->destination[0] != '/')
                spec_fail(draft, "mount \"%.*s\": its path in the container is not absolute",
                          SPEC_PLACE_MAX, mount->destination);
        spec_put(object, "destination",
                 spec_text(draft, mount->destination, "a mount's path", NULL));
        if (mount->type)
                spec_put(object, "type",
                         spec_text(draft, mount->type, "type of mount", mount->destination));
        if (mount->source)
                spec_put(object, "source",
                         spec_text(draft, mount->source, "source of mount", mount->destination));
        if (mount->options)
                spec_put(object, "options", spec_texts(draft, mount->options, "mount option"));
        spec_put_id_maps(object, "uidMappings", mount->uid_maps, mount->uid_map_count);
        spec_put_id_maps(object, "gidMappings", mount->gid_maps, mount->gid_map_count);
        return object;
}

static json_t *mounts(struct spec_draft *draft, const struct spec_mount *list, size_t count)
{
        json_t *array = json_array();
        AUTO_FREE struct ordered_mount *ordered = xcalloc(count + 1, sizeof *ordered);
        for (size_t i = 0; i < count; i++)
                ordered[i] = (struct ordered_mount){&list[i], depth_of(list[i].destination)};
        qsort(ordered, count, sizeof *ordered, by_depth);
        for (size_t i = 0; i < count; i++)
                json_array_append_new(array, mount_object(draft, ordered[i].mount));
        return array;
}

/*
 * With systemd, crun puts a container into a cgroup "container" below the scope unless told
 * otherwise; then limits, statistics and what we kill would be one level off from runc's.
 */
#define CRUN_SUBGROUP "run.oci.systemd.subgroup"

static void put_annotations(struct spec_draft *draft, json_t *object,
                            const struct spec_options *options)
{
        spec_put_pairs(draft, object, "annotations", options->annotations,
                       options->annotation_count);
        if (!options->cgroup_path || !strchr(options->cgroup_path, ':'))
                return;
        json_t *annotations = json_object_get(object, "annotations");
        if (!annotations) {
                annotations = json_object();
                spec_put(object, "annotations", annotations);
        }
        if (!json_object_get(annotations, CRUN_SUBGROUP))
                spec_put(annotations, CRUN_SUBGROUP, json_string(""));
}

int spec_build(const struct spec_options *options, char **result, struct error *err)
{
        struct spec_draft draft = {.err = err};
        AUTO_JSON json_t *spec = json_object();
        json_t *root = json_object();
        spec_put(spec, "ociVersion",
                 json_string(options->version ? options->version : SPEC_VERSION));
        spec_put(spec, "process", spec_process(&draft, options));
        spec_put_text(&draft, root, "path", options->root);
        spec_put(root, "readonly", json_boolean(options->root_readonly));
        spec_put(spec, "root", root);
        spec_put_text(&draft, spec, "hostname", options->hostname);
        spec_put(spec, "mounts", mounts(&draft, options->mounts, options->mount_count));
        put_annotations(&draft, spec, options);
        if (options->hook_count)
                spec_put(spec, "hooks", spec_hooks(&draft, options));
        spec_put(spec, "linux", spec_linux(&draft, options));
        if (draft.result < 0)
                return draft.result;
        *result = json_text(spec);
        return 0;
}

int spec_write(const struct spec_options *options, const char *bundle, struct error *err)
{
        AUTO_FREE char *contents = NULL;
        int result = spec_build(options, &contents, err);
        if (result < 0)
                return result;
        AUTO_FREE char *path = xprintf("%s/config.json", bundle);
        return file_replace_volatile(path, contents, strlen(contents), 0600, err);
}
