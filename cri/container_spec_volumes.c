/* Mounts that nobody asked for in the request: volumes that the image declares, and what the node
 * mounts into every container. */
#include "cri/container_spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/tree.h"
#include "cri/mount_default.h"
#include "cri/pod_users.h"

#define VOLUMES_MAX 256 /* that an image may declare */
#define FOLDER_MODE 0755
#define MIB         (UINT64_C(1024) * 1024)

static const char *const writable[] = {"rbind", "rprivate", "rw", NULL};

static bool is_mounted_by_request(const struct container_spec *draft, const char *destination)
{
        for (size_t i = 0; i < draft->config->n_mounts; i++) {
                struct spec_mount wanted = {.destination =
                                                    draft->config->mounts[i]->container_path};
                if (spec_find_mount(&wanted, 1, destination))
                        return true;
        }
        return false;
}

/* ---- volumes of the image ---- */

/* What the image has in this place, with its owner and mode; else a folder of the container's
 * user. */
static int copy_up(struct container_spec *draft, const char *path, const char *target)
{
        const struct tree_bounds bounds = {node.config->images.max_layer_entries,
                                           node.config->images.max_layer_mib * MIB};
        struct error missing;
        AUTO_FD int fd = file_open_in(draft->root_fd, path, O_PATH | O_DIRECTORY, 0, &missing);
        if (fd >= 0)
                return tree_copy(fd, target, false, &bounds, draft->err);
        if (fd != -ENOENT) {
                *draft->err = missing;
                return fd;
        }
        uint32_t uid = draft->spec.uid, gid = draft->spec.gid;
        pod_users_to_host(draft->pod, &uid, &gid);
        if (mkdir(target, FOLDER_MODE) < 0 || chown(target, uid, gid) < 0 ||
            chmod(target, FOLDER_MODE) < 0)
                return error_errno(draft->err, errno, "make folder %s", target);
        return 0;
}

static int bind_volume(struct container_spec *draft, size_t index, const char *path)
{
        AUTO_FREE char *folder = container_state_path(draft->container, "volumes");
        const char *target = container_spec_keep(draft, xprintf("%s/%zu", folder, index));
        /* A folder of the host, which nobody else on it may come into. */
        int result = file_make_directories(folder, 0700, draft->err);
        if (result == 0)
                result = copy_up(draft, path, target);
        uint32_t uid = 0, gid = 0;
        pod_users_to_host(draft->pod, &uid, &gid);
        if (result == 0) /* to mount on: see make_place in container_spec_binds.c */
                result = tree_make_directories(draft->root_fd, path, FOLDER_MODE, uid, gid,
                                               draft->err);
        if (result < 0)
                return result;
        struct spec_mount mount = {
                .destination = path, .source = target, .type = "bind", .options = writable};
        container_spec_add_mount(draft, &mount);
        return 0;
}

static int add_volume(struct container_spec *draft, size_t index, const char *path)
{
        if (*path != '/')
                path = arena_printf(draft->arena, "/%s", path);
        if (is_mounted_by_request(draft, path))
                return 0;
        if (node.config->runtime.image_volumes == CONFIG_IMAGE_VOLUMES_BIND)
                return bind_volume(draft, index, path);
        uint32_t uid = draft->spec.uid, gid = draft->spec.gid;
        pod_users_to_host(draft->pod, &uid, &gid);
        return tree_make_directories(draft->root_fd, path, FOLDER_MODE, uid, gid, draft->err);
}

int container_spec_image_volumes(struct container_spec *draft)
{
        char *const *volumes = draft->image->volumes;
        size_t count = strv_length(volumes);
        if (node.config->runtime.image_volumes == CONFIG_IMAGE_VOLUMES_IGNORE)
                return 0;
        if (count > VOLUMES_MAX)
                return error_set(draft->err, ERROR_FAILED_PRECONDITION,
                                 "the image declares %zu volumes, more than %d", count,
                                 VOLUMES_MAX);
        for (size_t i = 0; i < count; i++) {
                int result = add_volume(draft, i, volumes[i]);
                if (result < 0)
                        return error_context(draft->err, "the image's volume %.200s", volumes[i]);
        }
        return 0;
}

/* ---- mounts of the node ---- */

static int add_default(struct container_spec *draft, size_t index,
                       const struct mount_default *wanted)
{
        if (is_mounted_by_request(draft, wanted->destination))
                return 0;
        AUTO_FREE char *folder = container_run_path(draft->container, "defaults");
        const char *target = container_spec_keep(draft, xprintf("%s/%zu", folder, index));
        int result = file_make_directories(folder, 0700, draft->err);
        if (result == 0)
                result = mount_default_copy(wanted, target, draft->err);
        if (result <= 0)
                return result;
        result = pod_users_own_tree(draft->pod, target, draft->err);
        if (result < 0)
                return result;
        struct spec_mount mount = {
                .destination = arena_strdup(draft->arena, wanted->destination),
                .source = target,
                .type = "bind",
                .options = writable,
        };
        container_spec_add_mount(draft, &mount);
        return 0;
}

int container_spec_default_mounts(struct container_spec *draft)
{
        AUTO_MOUNT_DEFAULTS struct mount_defaults defaults = MOUNT_DEFAULTS_INIT;
        int result = mount_defaults_read(node.config->runtime.default_mounts_file, &defaults,
                                         draft->err);
        for (size_t i = 0; result == 0 && i < defaults.count; i++)
                result = add_default(draft, i, &defaults.list[i]);
        return result < 0 ? error_context(draft->err, "runtime.default_mounts_file") : 0;
}
