/*
 * rootfs: an image's layers and a writable one, mounted as a container's root.
 *
 * In two steps, as one needs the store and the other blocks: rootfs_prepare on the loop's thread,
 * then rootfs_mount in task_offload. Keep the image by store_use meanwhile.
 */
#ifndef CRISP_IMAGE_ROOTFS_H
#define CRISP_IMAGE_ROOTFS_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/store.h"

struct rootfs {
        char *links; /* folder of the layers' short names */
        char *lower; /* "12:7:3", the highest first */
        char *root;  /* the short name of the layer whose root folder's owner and mode count */
        const char *label; /* SELinux label of all files as they are mounted, borrowed; null is
                              none. Set by who mounts */
        /* The pin of a user namespace whose owners the layers' files shall have, borrowed; null for
         * those on disk. What is written has the owners that it is written with: so the writable
         * layer's root needs them where the image says none. Set by who mounts. */
        const char *user_namespace;
        uid_t root_uid;
        gid_t root_gid;
};

#define ROOTFS_INIT                                                                                \
        {                                                                                          \
                0                                                                                  \
        }

/* Notes what is needed to mount the image (ID in full). NOT_FOUND when it is not here. Loop's
 * thread; does not wait. */
int rootfs_prepare(const struct store *store, const char *image_id, struct rootfs *rootfs,
                   struct error *err);
void rootfs_fini(struct rootfs *rootfs);

/*
 * Mounts at target, which is made if it is not there, the image with a writable layer in
 * directory/upper (and overlayfs' own directory/work). With a null directory there is no writable
 * layer and the mount is read-only. A container's root that the container shall not write is still
 * mounted writable: the OCI runtime makes the mount points in it and then takes the right away.
 *
 * The writable layer is not synced (overlayfs' "volatile"): a container does not outlive its
 * machine, and unmounting would otherwise sync the whole file system. Any thread; blocks.
 *
 * FAILED_PRECONDITION with a user namespace where kernel or file system cannot map owners
 * (overlayfs over idmapped layers: Linux 5.19); then TARGET.lower may be left, which rootfs_unmount
 * removes.
 */
int rootfs_mount(const struct rootfs *rootfs, const char *directory, const char *target,
                 struct error *err);

/*
 * Takes the mount away; not mounted or not there is fine. Where somebody still uses it, it is
 * detached, which is logged: it goes with its last user. Any thread; blocks.
 */
int rootfs_unmount(const char *target, struct error *err);

/* Removes directory/upper and directory/work; not there is fine. Unmount first. Any thread; blocks.
 */
int rootfs_remove(const char *directory, struct error *err);

#define AUTO_ROOTFS CLEANUP(rootfs_fini)

#endif
