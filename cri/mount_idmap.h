/*
 * mount_idmap: the idmapped mounts of a container (CRI's Mount.uidMappings and gidMappings).
 *
 * Each lies below the container's run folder, from where the runtime binds it, until the container
 * has ended. They block: on a worker only.
 */
#ifndef CRISP_CRI_MOUNT_IDMAP_H
#define CRISP_CRI_MOUNT_IDMAP_H

#include <stdbool.h>

#include "cri/container.h"
#include "cri/mount_source.h"

static inline bool mount_idmap_is(const Runtime__V1__Mount *mount)
{
        return mount->n_uidmappings > 0 || mount->n_gidmappings > 0;
}

/* Mounts the source of the configuration's mount of this index; follow as for idmap_mount; *path on
 * the heap is what is to be bound. */
int mount_idmap_make(const struct container *container, size_t index,
                     const struct mount_source *source, bool follow, char **path,
                     struct error *err);

/* Takes all of them away; not mounted is fine. */
int mount_idmap_unmount(const struct container *container, struct error *err);

#endif
