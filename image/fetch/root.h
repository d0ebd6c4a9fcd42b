/*
 * root: a root folder that has nothing in it but what a request needs.
 *
 * A tmpfs, read-only in the end, in a mount namespace of the process's own: the request's folders,
 * bound; /proc/self/fd, by which extended attributes are set; and, for who speaks to registries,
 * copies of the few files by which names are resolved and certificates checked. They are copies
 * since most of them are symlinks, or replaced by a rename when they change: a bind would not see
 * that either. Name services other than files and DNS are modules to be loaded: the box has none.
 *
 * Nothing is mounted where others see it, and all of it ends with the process.
 */
#ifndef CRISP_IMAGE_FETCH_ROOT_H
#define CRISP_IMAGE_FETCH_ROOT_H

#include <stdbool.h>

#include "base/error.h"
#include "image/fetch/confine.h"

/*
 * Enters new mount, IPC, UTS and cgroup namespaces, makes the root of the box's folders and changes
 * into it; the folders' paths are then their places. Where the kernel refuses that, logs why,
 * leaves root and paths as they are and returns 0. Needs all capabilities and a single thread.
 */
int root_close(struct confine_box *box, struct error *err);

#endif
