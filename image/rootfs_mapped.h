/*
 * rootfs_mapped: an image's layers with other owners than on disk, for overlayfs to be mounted
 * over. For rootfs.c.
 *
 * The whole store is mounted once with mapped owners, since an image may have hundreds of layers;
 * only those that additional stores lend are mounted one by one. All of it lies in one folder
 * beside the root file system, TARGET.lower, and is of no use any more once overlayfs is mounted,
 * which holds the layers itself.
 */
#ifndef CRISP_IMAGE_ROOTFS_MAPPED_H
#define CRISP_IMAGE_ROOTFS_MAPPED_H

#include "base/error.h"
#include "image/rootfs.h"

/*
 * A descriptor of the folder with the short names of rootfs->lower, as the user namespace of
 * rootfs->user_namespace maps their owners. FAILED_PRECONDITION where kernel or file system cannot.
 * Whatever it gives, rootfs_mapped_close takes away what was mounted. Blocks.
 */
int rootfs_mapped_open(const struct rootfs *rootfs, const char *target, struct error *err);

/* Nothing there is fine. Blocks. */
int rootfs_mapped_close(const char *target, struct error *err);

#endif
