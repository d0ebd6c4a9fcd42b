/* CDI's edits, made in what is to become a specification. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "oci/cdi_private.h"
#include "oci/device.h"

struct edit {
        struct arena *arena;
        struct spec_options *options;
        struct error *err;
};

/* Room for more elements after a copy of what is there. */
static void *extend(struct edit *edit, const void *old, size_t count, size_t more, size_t size)
{
        void *array = arena_array(edit->arena, count + more + 1, size);
        if (count)
                memcpy(array, old, count * size);
        return array;
}

static void add_env(struct edit *edit, const struct cdi_edits *edits)
{
        char *const *old = edit->options->env;
        size_t count = 0;
        while (old && old[count])
                count++;
        char **env = extend(edit, old, count, edits->env_count, sizeof *env);
        for (size_t i = 0; i < edits->env_count; i++) {
                size_t at = 0, length = strcspn(edits->env[i], "=") + 1;
                while (at < count && strncmp(env[at], edits->env[i], length) != 0)
                        at++;
                env[at] = edits->env[i];
                count += at == count;
        }
        edit->options->env = env;
}

/* What the description leaves to the host's node. */
static int complete(const struct edit *edit, const struct cdi_node *node,
                    struct spec_device *device)
{
        struct stat st;
        bool whole = node->type && (node->device_major || node->type == 'p');
        if (stat(node->host_path, &st) < 0)
                return whole ? 0
                             : error_set(edit->err, ERROR_FAILED_PRECONDITION, "device %s: %s",
                                         node->host_path, strerror(errno));
        device->source = node->host_path;
        if (!node->has_mode)
                device->mode = st.st_mode & 07777;
        if (whole)
                return 0;
        char type = S_ISCHR(st.st_mode)    ? 'c'
                    : S_ISBLK(st.st_mode)  ? 'b'
                    : S_ISFIFO(st.st_mode) ? 'p'
                                           : 0;
        if (!type || (node->type && node->type != type))
                return error_set(edit->err, ERROR_FAILED_PRECONDITION,
                                 "device %s: it is not a device of the type that is described",
                                 node->host_path);
        device->type = type;
        if (type != 'p') {
                device->device_major = major(st.st_rdev);
                device->device_minor = minor(st.st_rdev);
        }
        return 0;
}

static int add_nodes(struct edit *edit, const struct cdi_edits *edits)
{
        struct spec_options *options = edit->options;
        struct device_list list = {.arena = edit->arena};
        int result = 0;
        for (size_t i = 0; i < options->device_count && result == 0; i++)
                result = device_list_add(&list, &options->devices[i], edit->err);
        for (size_t i = 0; i < edits->node_count && result == 0; i++) {
                const struct cdi_node *node = &edits->nodes[i];
                struct spec_device device = {
                        .path = node->path,
                        .type = node->type,
                        .device_major = (unsigned)node->device_major,
                        .device_minor = (unsigned)node->device_minor,
                        .mode = node->has_mode ? node->mode : 0666,
                        .uid = node->uid < 0 ? options->uid : (uint32_t)node->uid,
                        .gid = node->gid < 0 ? options->gid : (uint32_t)node->gid,
                        .access = node->access,
                };
                result = complete(edit, node, &device);
                if (result == 0)
                        result = device_list_add(&list, &device, edit->err);
        }
        options->devices = list.devices;
        options->device_count = list.count;
        return result;
}

static void add_mounts(struct edit *edit, const struct cdi_edits *edits)
{
        struct spec_options *options = edit->options;
        size_t count = options->mount_count;
        struct spec_mount *mounts =
                extend(edit, options->mounts, count, edits->mount_count, sizeof *mounts);
        for (size_t i = 0; i < edits->mount_count; i++) {
                struct spec_mount *same =
                        spec_find_mount(mounts, count, edits->mounts[i].destination);
                if (same)
                        *same = edits->mounts[i];
                else
                        mounts[count++] = edits->mounts[i];
        }
        options->mounts = mounts;
        options->mount_count = count;
}

static void add_hooks(struct edit *edit, const struct cdi_edits *edits)
{
        struct spec_options *options = edit->options;
        struct spec_hook *hooks =
                extend(edit, options->hooks, options->hook_count, edits->hook_count, sizeof *hooks);
        if (edits->hook_count)
                memcpy(hooks + options->hook_count, edits->hooks,
                       edits->hook_count * sizeof *hooks);
        options->hooks = hooks;
        options->hook_count += edits->hook_count;
}

static void add_gids(struct edit *edit, const struct cdi_edits *edits)
{
        struct spec_options *options = edit->options;
        size_t count = options->additional_gid_count;
        uint32_t *gids =
                extend(edit, options->additional_gids, count, edits->gid_count, sizeof *gids);
        for (size_t i = 0; i < edits->gid_count; i++) {
                size_t at = 0;
                while (at < count && gids[at] != edits->gids[i])
                        at++;
                gids[at] = edits->gids[i];
                count += at == count;
        }
        options->additional_gids = gids;
        options->additional_gid_count = count;
}

int cdi_apply(const struct cdi_edits *edits, struct arena *arena, struct spec_options *options,
              struct error *err)
{
        struct edit edit = {.arena = arena, .options = options, .err = err};
        if (edits->unsupported)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "%s: the OCI specification %s, which runtimes are told, does not "
                                 "have it",
                                 edits->unsupported, SPEC_VERSION);
        int result = add_nodes(&edit, edits);
        if (result < 0)
                return result;
        add_env(&edit, edits);
        add_mounts(&edit, edits);
        add_hooks(&edit, edits);
        add_gids(&edit, edits);
        if (edits->rdt)
                options->rdt = edits->rdt;
        return 0;
}
