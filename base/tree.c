#include "base/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"

#define COPY_CHUNK   (128 * 1024)
#define XATTR_MAX    (64 * 1024) /* bytes of a value, and of all names: the kernel's own bounds */
#define FD_PATH_SIZE 40

static void fd_path(char path[FD_PATH_SIZE], int fd)
{
        snprintf(path, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

/* ---- making folders ---- */

struct making {
        int root_fd;
        mode_t mode;
        uid_t uid;
        gid_t gid;
        unsigned links; /* that may still be followed */
        struct error *err;
};

static int make_path(struct making *making, const char *path);

/* The symlink at path leads nowhere: makes what it stands for. */
static int make_target(struct making *making, int parent_fd, const char *name, const char *path)
{
        char text[PATH_MAX];
        ssize_t length = readlinkat(parent_fd, name, text, sizeof text - 1);
        if (length < 0)
                return error_errno(making->err, errno == EINVAL ? ENOTDIR : errno, "folder %s",
                                   path);
        if (making->links-- == 0)
                return error_errno(making->err, ELOOP, "folder %s", path);
        text[length] = '\0';
        if (text[0] == '/')
                return make_path(making, text);
        AUTO_FREE char *target = xprintf("%.*s/%s", (int)(strlen(path) - strlen(name)), path, text);
        return make_path(making, target);
}

static int make_one(struct making *making, int parent_fd, const char *name, const char *path)
{
        if (mkdirat(parent_fd, name, making->mode) < 0)
                return errno == EEXIST ? make_target(making, parent_fd, name, path)
                                       : error_errno(making->err, errno, "make folder %s", path);
        AUTO_FD int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fchown(fd, making->uid, making->gid) < 0 || fchmod(fd, making->mode) < 0)
                return error_errno(making->err, errno, "make folder %s", path);
        return 0;
}

static int open_folder(const struct making *making, const char *path, struct error *err)
{
        return file_open_in(making->root_fd, path, O_PATH | O_DIRECTORY, 0, err);
}

/* The part of the path that ends at `end`, once all above it is there. */
static int make_part(struct making *making, char *path, char *end)
{
        char after = *end;
        *end = '\0';
        struct error missing;
        AUTO_FD int fd = open_folder(making, path, &missing);
        int result = 0;
        if (fd == -ENOENT) {
                char *slash = strrchr(path, '/');
                char *name = slash ? slash + 1 : path;
                AUTO_FREE char *above = xstrndup(path, (size_t)(name - path));
                AUTO_FD int parent_fd = open_folder(making, *above ? above : ".", making->err);
                result = parent_fd < 0 ? parent_fd : make_one(making, parent_fd, name, path);
        } else if (fd < 0) {
                if (making->err)
                        *making->err = missing;
                result = fd;
        }
        *end = after;
        return result;
}

static int make_path(struct making *making, const char *path)
{
        AUTO_FREE char *copy = xstrdup(path);
        for (char *at = copy; *at;) {
                at += strspn(at, "/");
                size_t length = strcspn(at, "/");
                if (length == 0)
                        break;
                int result = make_part(making, copy, at + length);
                if (result < 0)
                        return result;
                at += length;
        }
        return 0;
}

int tree_make_directories(int root_fd, const char *path, mode_t mode, uid_t uid, gid_t gid,
                          struct error *err)
{
        struct making making = {.root_fd = root_fd,
                                .mode = mode,
                                .uid = uid,
                                .gid = gid,
                                .links = TREE_LINKS_MAX,
                                .err = err};
        return make_path(&making, path);
}

/* ---- copying ---- */

struct copying {
        bool follow;
        struct tree_bounds left;
        unsigned depth;
        struct error *err;
};

/* Copies into the new entry `name` of folder_fd. from_fd is O_PATH. */
static int copy_entry(struct copying *copying, int from_fd, int folder_fd, const char *name);

static int failed(const struct copying *copying, const char *what, const char *name)
{
        return error_errno(copying->err, errno, "copy %s: %s", name, what);
}

/* What the file system of the copy does not have is left out; overlayfs' own are not contents. */
static bool attribute_counts(const char *name)
{
        return strncmp(name, "trusted.overlay.", 16) != 0 &&
               strncmp(name, "security.selinux", 16) != 0;
}

/* Both are magic links, which lead to the entries themselves. */
static int copy_attributes(const struct copying *copying, const char *from, const char *to,
                           const char *name)
{
        AUTO_FREE char *names = xcalloc(1, XATTR_MAX);
        AUTO_FREE char *value = xcalloc(1, XATTR_MAX);
        ssize_t length = listxattr(from, names, XATTR_MAX);
        if (length < 0)
                return errno == ENOTSUP ? 0 : failed(copying, "list attributes", name);
        for (const char *each = names; each < names + length; each += strlen(each) + 1) {
                if (!attribute_counts(each))
                        continue;
                ssize_t size = getxattr(from, each, value, XATTR_MAX);
                if (size < 0 && (errno == ENODATA || errno == ENOTSUP))
                        continue;
                if (size < 0)
                        return failed(copying, "read an attribute", name);
                if (setxattr(to, each, value, (size_t)size, 0) < 0 && errno != ENOTSUP &&
                    errno != EPERM)
                        return failed(copying, "write an attribute", name);
        }
        return 0;
}

/* Owner first, since a change of it takes set-user-ID bits and capabilities away. */
static int copy_properties(const struct copying *copying, const struct stat *st, int from_fd,
                           int folder_fd, const char *name)
{
        char from[FD_PATH_SIZE], to[FD_PATH_SIZE];
        struct timespec times[2] = {st->st_atim, st->st_mtim};
        if (fchownat(folder_fd, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
                return failed(copying, "change owner", name);
        if (!S_ISLNK(st->st_mode)) {
                AUTO_FD int to_fd = openat(folder_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
                fd_path(from, from_fd);
                fd_path(to, to_fd);
                if (to_fd < 0 || chmod(to, st->st_mode & 07777) < 0)
                        return failed(copying, "change mode", name);
                int result = copy_attributes(copying, from, to, name);
                if (result < 0)
                        return result;
        }
        if (utimensat(folder_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return failed(copying, "set times", name);
        return 0;
}

static int write_all(int fd, const char *bytes, size_t length)
{
        while (length > 0) {
                ssize_t count = write(fd, bytes, length);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return -1;
                bytes += count;
                length -= (size_t)count;
        }
        return 0;
}

static int copy_contents(struct copying *copying, int from_fd, int folder_fd, const char *name)
{
        char from[FD_PATH_SIZE];
        fd_path(from, from_fd);
        AUTO_FD int in = open(from, O_RDONLY | O_CLOEXEC);
        if (in < 0)
                return failed(copying, "open", name);
        AUTO_FD int out = openat(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (out < 0)
                return failed(copying, "make", name);
        AUTO_FREE char *chunk = xcalloc(1, COPY_CHUNK);
        for (;;) {
                ssize_t count = read(in, chunk, COPY_CHUNK);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0)
                        return failed(copying, "read", name);
                if (count == 0)
                        return 0;
                if ((uint64_t)count > copying->left.bytes)
                        return error_set(copying->err, ERROR_RESOURCE_EXHAUSTED,
                                         "copy %s: more bytes than a copy may have", name);
                copying->left.bytes -= (uint64_t)count;
                if (write_all(out, chunk, (size_t)count) < 0)
                        return failed(copying, "write", name);
        }
}

/* What stands behind name, where symlinks are followed; -1 with ENOENT for one that leads nowhere.
 */
static int open_entry(const struct copying *copying, int folder_fd, const char *name)
{
        return openat(folder_fd, name, O_PATH | O_CLOEXEC | (copying->follow ? 0 : O_NOFOLLOW));
}

static int copy_entries(struct copying *copying, DIR *from, int to_fd)
{
        for (;;) {
                errno = 0;
                struct dirent *entry = readdir(from);
                if (!entry)
                        return errno ? failed(copying, "list", "a folder") : 0;
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                AUTO_FD int fd = open_entry(copying, dirfd(from), entry->d_name);
                if (fd < 0 && copying->follow && errno == ENOENT)
                        continue;
                if (fd < 0)
                        return failed(copying, "open", entry->d_name);
                int result = copy_entry(copying, fd, to_fd, entry->d_name);
                if (result < 0)
                        return result;
        }
}

static int copy_folder(struct copying *copying, int from_fd, int folder_fd, const char *name)
{
        char path[FD_PATH_SIZE];
        if (copying->depth == TREE_DEPTH_MAX)
                return error_set(copying->err, ERROR_RESOURCE_EXHAUSTED,
                                 "copy %s: more than %d folders below one another", name,
                                 TREE_DEPTH_MAX);
        if (mkdirat(folder_fd, name, 0700) < 0)
                return failed(copying, "make", name);
        AUTO_FD int to_fd =
                openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        fd_path(path, from_fd);
        AUTO_DIR DIR *from = opendir(path);
        if (to_fd < 0 || !from)
                return failed(copying, "open", name);
        copying->depth++;
        int result = copy_entries(copying, from, to_fd);
        copying->depth--;
        return result;
}

static int copy_link(const struct copying *copying, int from_fd, int folder_fd, const char *name)
{
        char text[PATH_MAX];
        ssize_t length = readlinkat(from_fd, "", text, sizeof text - 1);
        if (length < 0)
                return failed(copying, "read", name);
        text[length] = '\0';
        return symlinkat(text, folder_fd, name) < 0 ? failed(copying, "make", name) : 0;
}

static int copy_node(const struct copying *copying, const struct stat *st, int folder_fd,
                     const char *name)
{
        if (mknodat(folder_fd, name, (st->st_mode & S_IFMT) | 0600, st->st_rdev) < 0)
                return failed(copying, "make", name);
        return 0;
}

static int copy_entry(struct copying *copying, int from_fd, int folder_fd, const char *name)
{
        struct stat st;
        int result;
        if (fstat(from_fd, &st) < 0)
                return failed(copying, "look at", name);
        if (copying->left.entries == 0)
                return error_set(copying->err, ERROR_RESOURCE_EXHAUSTED,
                                 "copy %s: more entries than a copy may have", name);
        copying->left.entries--;
        if (S_ISDIR(st.st_mode))
                result = copy_folder(copying, from_fd, folder_fd, name);
        else if (S_ISREG(st.st_mode))
                result = copy_contents(copying, from_fd, folder_fd, name);
        else if (S_ISLNK(st.st_mode))
                result = copy_link(copying, from_fd, folder_fd, name);
        else
                result = copy_node(copying, &st, folder_fd, name);
        return result < 0 ? result : copy_properties(copying, &st, from_fd, folder_fd, name);
}

int tree_copy(int source_fd, const char *target, bool follow, const struct tree_bounds *bounds,
              struct error *err)
{
        struct copying copying = {.follow = follow, .left = *bounds, .err = err};
        const char *slash = strrchr(target, '/');
        if (!slash)
                return error_set(err, ERROR_INTERNAL, "copy to %s: not an absolute path", target);
        AUTO_FREE char *folder = xstrndup(target, (size_t)(slash - target) + 1);
        AUTO_FD int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder_fd < 0)
                return error_errno(err, errno, "open %s", folder);
        return copy_entry(&copying, source_fd, folder_fd, slash + 1);
}
