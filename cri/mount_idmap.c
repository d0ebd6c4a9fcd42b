#include "cri/mount_idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/idmap.h"

static char *mount_path(const struct container *container, size_t index)
{
        AUTO_FREE char *name = xprintf("idmaps/%zu", index);
        return container_run_path(container, name);
}

static struct spec_id_map *ranges_of(Runtime__V1__IDMapping *const *mappings, size_t count)
{
        struct spec_id_map *ranges = xcalloc(count + 1, sizeof *ranges);
        for (size_t i = 0; i < count; i++)
                ranges[i] = (struct spec_id_map){.container_id = mappings[i]->container_id,
                                                 .host_id = mappings[i]->host_id,
                                                 .length = mappings[i]->length};
        return ranges;
}

/* An empty one of the source's kind to mount on. */
static int make_target(const struct container *container, const char *target, mode_t type,
                       struct error *err)
{
        AUTO_FREE char *folder = container_run_path(container, "idmaps");
        int result = file_make_directories(folder, 0700, err);
        if (result < 0)
                return result;
        if (S_ISDIR(type))
                return mkdir(target, 0700) < 0 && errno != EEXIST
                               ? error_errno(err, errno, "make folder %s", target)
                               : 0;
        return file_replace_volatile(target, "", 0, 0600, err);
}

int mount_idmap_make(const struct container *container, size_t index,
                     const struct mount_source *source, bool follow, char **path, struct error *err)
{
        const Runtime__V1__Mount *mount = container_config(container)->mounts[index];
        AUTO_FREE char *target = mount_path(container, index);
        AUTO_FREE struct spec_id_map *uids = ranges_of(mount->uidmappings, mount->n_uidmappings);
        AUTO_FREE struct spec_id_map *gids = ranges_of(mount->gidmappings, mount->n_gidmappings);
        struct idmap map = {uids, mount->n_uidmappings, gids, mount->n_gidmappings};
        int result = make_target(container, target, source->type, err);
        if (result < 0)
                return result;
        AUTO_FD int namespace_fd = idmap_namespace(node.pause_program, &map, err);
        if (namespace_fd < 0)
                return namespace_fd;
        result = idmap_mount(source->fd, namespace_fd, follow, target, err);
        if (result == 0)
                *path = take_ptr(target);
        return result;
}

int mount_idmap_unmount(const struct container *container, struct error *err)
{
        const Runtime__V1__ContainerConfig *config = container_config(container);
        for (size_t i = 0; i < config->n_mounts; i++) {
                if (!mount_idmap_is(config->mounts[i]))
                        continue;
                AUTO_FREE char *target = mount_path(container, i);
                if (umount2(target, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 && errno != EINVAL &&
                    errno != ENOENT)
                        return error_errno(err, errno, "unmount %s", target);
        }
        return 0;
}
