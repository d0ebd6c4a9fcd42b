#include "oci/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/sched.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/process.h"

bool idmap_kernel_can(void)
{
        return mount_setattr(-1, "", 0, NULL, 0) == 0 || errno != ENOSYS;
}

/* ---- the user namespace ---- */

static int write_map(pid_t pid, const char *name, const struct spec_id_map *maps, size_t count,
                     struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_FREE char *path = xprintf("/proc/%d/%s", (int)pid, name);
        for (size_t i = 0; i < count; i++)
                buffer_printf(&text, "%u %u %u\n", maps[i].container_id, maps[i].host_id,
                              maps[i].length);
        return file_write(path, text.data ? text.data : "", err);
}

static bool is_own_namespace(int fd)
{
        struct stat own, other;
        return stat("/proc/self/ns/user", &own) < 0 || fstat(fd, &other) < 0 ||
               own.st_ino == other.st_ino;
}

static int open_namespace(pid_t pid, const struct idmap *map, struct error *err)
{
        AUTO_FREE char *path = xprintf("/proc/%d/ns/user", (int)pid);
        AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        /* process_start goes on without namespaces where the kernel refuses them. */
        if (is_own_namespace(fd))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the kernel makes no user namespaces "
                                 "(/proc/sys/user/max_user_namespaces)");
        int result = write_map(pid, "uid_map", map->uid_maps, map->uid_map_count, err);
        if (result == 0)
                result = write_map(pid, "gid_map", map->gid_maps, map->gid_map_count, err);
        return result < 0 ? result : take_fd(&fd);
}

/*
 * The program may have ended before its maps are written: until it is reaped its namespace can be
 * found, written to and opened all the same.
 */
int idmap_namespace(const char *program, const struct idmap *map, struct error *err)
{
        char name[] = "idmap", flag[] = "--version";
        char *argv[] = {name, flag, NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        struct process process;
        options.path = program;
        options.argv = argv;
        options.namespaces = CLONE_NEWUSER;
        int result = process_start(&options, &process, err);
        if (result < 0)
                return error_context(err, "make a user namespace");
        int fd = open_namespace(process.pid, map, err);
        process_abandon(&process);
        return fd < 0 ? error_context(err, "make a user namespace") : fd;
}

/* ---- the mount ---- */

static int map_owners(int tree_fd, int namespace_fd, struct error *err)
{
        struct mount_attr attributes = {
                .attr_set = MOUNT_ATTR_IDMAP,
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

int idmap_mount(int source_fd, int namespace_fd, bool follow, const char *target, struct error *err)
{
        AUTO_FD int tree_fd = open_tree(
                source_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
        if (tree_fd < 0)
                return error_errno(err, errno, "clone its mount");
        int result = map_owners(tree_fd, namespace_fd, err);
        if (result < 0)
                return result;
        struct mount_attr propagation = {.propagation = follow ? MS_SLAVE : MS_PRIVATE};
        if (mount_setattr(tree_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &propagation,
                          sizeof propagation) < 0)
                return error_errno(err, errno, "end its spreading");
        if (move_mount(tree_fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return error_errno(err, errno, "mount on %s", target);
        return 0;
}
