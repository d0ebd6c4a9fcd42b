/*
 * mapped_mount: mounts whose files have other owners than on disk (idmapped mounts, Linux 5.12).
 *
 * Where kernel or file system cannot, that is said in words; owners on disk are never changed. They
 * block; any thread.
 */
#ifndef CRISP_BASE_MAPPED_MOUNT_H
#define CRISP_BASE_MAPPED_MOUNT_H

#include "base/error.h"

enum mapped_mount_flags {
        /* What is mounted below the source comes along, with its owners unmapped. */
        MAPPED_MOUNT_RECURSIVE = 1,
        /* Mounts that come below the source later, and go, do so here. */
        MAPPED_MOUNT_FOLLOW = 2,
        MAPPED_MOUNT_READ_ONLY = 4,
};

/*
 * Mounts what source_fd (O_PATH will do) stands for at target, an existing file or folder as the
 * source is, with the owners that the user namespace of namespace_fd maps to. Nothing ever spreads
 * to the source, so that unmounting this one leaves what is below the source alone.
 * FAILED_PRECONDITION where kernel or file system cannot. The caller unmounts it.
 */
int mapped_mount_make(int source_fd, int namespace_fd, unsigned flags, const char *target,
                      struct error *err);

#endif
