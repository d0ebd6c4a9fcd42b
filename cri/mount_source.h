/*
 * mount_source: what of the host a mount shows.
 *
 * The path that a client names is followed once, here. What is found is then known by a path
 * without symlinks, so that a symlink that is changed later leads nobody elsewhere. These functions
 * block on the disk: on a worker only.
 */
#ifndef CRISP_CRI_MOUNT_SOURCE_H
#define CRISP_CRI_MOUNT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

#define MOUNT_SOURCE_TABLE_MAX (64 * 1024 * 1024) /* bytes read of the kernel's list of mounts */

struct mount_source {
        int fd;      /* O_PATH */
        char *path;  /* on the heap, without symlinks */
        mode_t type; /* S_IFDIR, S_IFREG, ... */
};

#define MOUNT_SOURCE_INIT                                                                          \
        {                                                                                          \
                .fd = -1                                                                           \
        }

/*
 * Finds host_path (absolute) below the folder prefix ("": the root), and makes it a folder of mode
 * 0755 where it is missing; FAILED_PRECONDITION where it is one of `rejected` (strv or null).
 */
int mount_source_find(const char *prefix, const char *host_path, char *const *rejected,
                      struct mount_source *source, struct error *err);
void mount_source_fini(struct mount_source *source);
#define AUTO_MOUNT_SOURCE CLEANUP(mount_source_fini)

enum mount_source_spread {
        MOUNT_SOURCE_PRIVATE,
        MOUNT_SOURCE_SLAVE,
        MOUNT_SOURCE_SHARED, /* perhaps a slave, too */
};

/*
 * How the mount that the source is on spreads. FAILED_PRECONDITION, naming the path and that mount,
 * where it does so less than wanted: a mount inside a container would be seen in one direction less
 * than was asked for, without a word.
 */
int mount_source_require(const struct mount_source *source, enum mount_source_spread wanted,
                         struct error *err);

/*
 * Of the text of a mountinfo file (proc(5)) the mount with this number: how it spreads, and where
 * it is, borrowed from the text (octal escapes and all) with its length. False when it is not
 * there. Pure.
 */
bool mount_source_parse(const char *text, uint64_t number, enum mount_source_spread *spread,
                        const char **place, size_t *length);

/* Whether path is folder, or lies below it; both cleaned ("/a/b") and absolute. */
bool mount_source_is_below(const char *path, const char *folder);

#endif
