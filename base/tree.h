/*
 * tree: folders of others, made and copied without ever leaving them.
 *
 * Symlinks in such a tree may lead anywhere; here they lead to places inside it. These functions
 * block on the disk: from a task call them through task_offload. Any thread.
 */
#ifndef CRISP_BASE_TREE_H
#define CRISP_BASE_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define TREE_LINKS_MAX 40  /* symlinks that one path is followed through, as in the kernel */
#define TREE_DEPTH_MAX 128 /* folders below one another that are copied */

/*
 * Makes the folder `path` in the tree of root_fd and whatever is missing above it, each with this
 * mode (the umask does not apply) and owner; what is there already stays as it is. A symlink that
 * leads nowhere has its target made. -ENOTDIR where something on the way is no folder.
 */
int tree_make_directories(int root_fd, const char *path, mode_t mode, uid_t uid, gid_t gid,
                          struct error *err);

/* What a copy may take: RESOURCE_EXHAUSTED past it. */
struct tree_bounds {
        uint64_t entries;
        uint64_t bytes; /* of files' contents */
};

/*
 * Copies the file or folder that source_fd (O_PATH will do) stands for to target, which must not be
 * there: contents, types, modes, owners, times and extended attributes; of several hard links each
 * becomes a file of its own. With follow what symlinks lead to is copied in their place, as the
 * one sees it who started this process, and those that lead nowhere are left out: only for trees of
 * the node's operator. A failure leaves what is copied so far: the caller removes it.
 */
int tree_copy(int source_fd, const char *target, bool follow, const struct tree_bounds *bounds,
              struct error *err);

#endif
