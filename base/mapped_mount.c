#include "base/mapped_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"

static int map_owners(int tree_fd, int namespace_fd, unsigned flags, struct error *err)
{
        struct mount_attr attributes = {
                .attr_set = MOUNT_ATTR_IDMAP |
                            (flags & MAPPED_MOUNT_READ_ONLY ? (uint64_t)MOUNT_ATTR_RDONLY : 0),
                .userns_fd = (uint64_t)namespace_fd,
        };
        if (mount_setattr(tree_fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0)
                return 0;
        if (errno == ENOSYS)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the kernel has no idmapped mounts (Linux 5.12)");
        if (errno == EINVAL)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "its file system has no idmapped mounts with this kernel");
        if (errno == EPERM)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "it cannot be an idmapped mount: it is one already, or its file "
                                 "system belongs to another user namespace");
        return error_errno(err, errno, "map its owners");
}

int mapped_mount_make(int source_fd, int namespace_fd, unsigned flags, const char *target,
                      struct error *err)
{
        unsigned recursive = flags & MAPPED_MOUNT_RECURSIVE ? AT_RECURSIVE : 0;
        AUTO_FD int tree_fd = open_tree(
                source_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | recursive);
        if (tree_fd < 0)
                return error_errno(err, errno, "clone its mount");
        int result = map_owners(tree_fd, namespace_fd, flags, err);
        if (result < 0)
                return result;
        struct mount_attr propagation = {.propagation = flags & MAPPED_MOUNT_FOLLOW ? MS_SLAVE
                                                                                    : MS_PRIVATE};
        if (mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &propagation,
                          sizeof propagation) < 0)
                return error_errno(err, errno, "end its spreading");
        if (move_mount(tree_fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return error_errno(err, errno, "mount on %s", target);
        return 0;
}
