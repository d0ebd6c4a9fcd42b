/* What is in a layer's tree, attribute by attribute. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/memory.h"
#include "image/fetch/compare_private.h"

#define LIST_MAX  65536 /* XATTR_LIST_MAX */
#define SHOWN_MAX 200

static const char *type_name(mode_t mode)
{
        switch (mode & S_IFMT) {
        case S_IFREG:
                return "a file";
        case S_IFDIR:
                return "a folder";
        case S_IFLNK:
                return "a symlink";
        case S_IFCHR:
                return "a character device";
        case S_IFBLK:
                return "a block device";
        case S_IFIFO:
                return "a fifo";
        default:
                return "something else";
        }
}

/* ---- extended attributes ---- */

/* Those that unpacking leaves out, or that the machine makes itself. */
static bool is_left_out(const char *name, mode_t mode)
{
        if (strncmp(name, "user.", 5) == 0)
                return !S_ISREG(mode) && !S_ISDIR(mode);
        return strcmp(name, "security.capability") != 0 &&
               strncmp(name, "system.posix_acl_", 17) != 0;
}

static const struct tree_xattr *find_xattr(const struct tree_entry *entry, const char *name)
{
        /* Of two that have one name the last was set last. */
        for (size_t i = entry->xattr_count; i-- > 0;)
                if (strcmp(entry->xattrs[i].name, name) == 0)
                        return &entry->xattrs[i];
        return NULL;
}

static void compare_xattr(struct compare *compare, const char *path, const char *file,
                          const struct tree_xattr *xattr)
{
        AUTO_FREE char *value = xcalloc(1, FETCH_XATTR_VALUE_MAX);
        ssize_t length = lgetxattr(file, xattr->name, value, FETCH_XATTR_VALUE_MAX);

        if (length < 0 && errno == EOPNOTSUPP)
                return;
        /* An ACL that says no more than the mode is not kept as one. */
        if (length < 0 && errno == ENODATA && strncmp(xattr->name, "system.", 7) == 0)
                return;
        if (length < 0)
                compare_differ(compare, path, "extended attribute", "%.*s: %s", SHOWN_MAX,
                               xattr->name, errno == ENODATA ? "it is missing" : strerror(errno));
        else if ((size_t)length != xattr->size || memcmp(value, xattr->value, xattr->size) != 0)
                compare_differ(compare, path, "extended attribute",
                               "%.*s: its %zd bytes are not the %zu of the layer", SHOWN_MAX,
                               xattr->name, length, xattr->size);
}

static void compare_xattrs(struct compare *compare, const char *path, int parent_fd,
                           const char *name, const struct tree_entry *entry)
{
        AUTO_FREE char *file = xprintf("/proc/self/fd/%d/%s", parent_fd, name);
        AUTO_FREE char *names = xcalloc(1, LIST_MAX + 1);

        for (size_t i = 0; i < entry->xattr_count; i++) {
                const struct tree_xattr *xattr = &entry->xattrs[i];
                if (!is_left_out(xattr->name, entry->mode) &&
                    find_xattr(entry, xattr->name) == xattr)
                        compare_xattr(compare, path, file, xattr);
        }
        ssize_t length = llistxattr(file, names, LIST_MAX);
        for (const char *each = names; length > 0 && each < names + length;
             each += strlen(each) + 1)
                if (!is_left_out(each, entry->mode) && !find_xattr(entry, each))
                        compare_differ(compare, path, "extended attribute",
                                       "%.*s: the layer does not have it", SHOWN_MAX, each);
}

/* ---- attributes ---- */

static void compare_symlink(struct compare *compare, const char *path, int parent_fd,
                            const char *name, const struct tree_entry *entry)
{
        char target[FETCH_PATH_MAX + 1];
        ssize_t length = readlinkat(parent_fd, name, target, sizeof(target) - 1);

        if (length < 0) {
                compare_differ(compare, path, "symlink", "%s", strerror(errno));
                return;
        }
        target[length] = '\0';
        if (strcmp(target, entry->symlink) != 0)
                compare_differ(compare, path, "symlink", "it leads to %.*s instead of %.*s",
                               SHOWN_MAX, target, SHOWN_MAX, entry->symlink);
}

static void compare_status(struct compare *compare, const char *path, const struct stat *status,
                           const struct tree_entry *entry)
{
        mode_t mode = status->st_mode & 07777, wanted = entry->mode & 07777;
        const struct timespec *time = &status->st_mtim;

        if (!S_ISLNK(entry->mode) && mode != wanted)
                compare_differ(compare, path, "mode", "it is %04o instead of %04o", mode, wanted);
        if (status->st_uid != entry->uid || status->st_gid != entry->gid)
                compare_differ(compare, path, "owner", "it is %u:%u instead of %u:%u",
                               status->st_uid, status->st_gid, entry->uid, entry->gid);
        /* File systems end somewhere, and cut what is beyond. */
        bool kept = entry->modified.tv_sec >= INT32_MIN && entry->modified.tv_sec <= INT32_MAX;
        if (kept &&
            (time->tv_sec != entry->modified.tv_sec || time->tv_nsec != entry->modified.tv_nsec))
                compare_differ(compare, path, "time", "it is %lld.%09ld instead of %lld.%09ld",
                               (long long)time->tv_sec, time->tv_nsec,
                               (long long)entry->modified.tv_sec, entry->modified.tv_nsec);
        if ((S_ISCHR(entry->mode) || S_ISBLK(entry->mode)) && status->st_rdev != entry->device)
                compare_differ(compare, path, "device", "it is %u:%u instead of %u:%u",
                               major(status->st_rdev), minor(status->st_rdev), major(entry->device),
                               minor(entry->device));
}

void compare_attributes(struct compare *compare, const char *path, int parent_fd, const char *name,
                        const struct tree_entry *entry, int64_t size)
{
        struct stat status;

        if (fstatat(parent_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
                compare_differ(compare, path, "entry", "%s",
                               errno == ENOENT ? "it is missing" : strerror(errno));
                return;
        }
        if ((status.st_mode & S_IFMT) != (entry->mode & S_IFMT)) {
                compare_differ(compare, path, "type", "it is %s instead of %s",
                               type_name(status.st_mode), type_name(entry->mode));
                return;
        }
        compare_status(compare, path, &status, entry);
        if (S_ISREG(entry->mode) && status.st_size != size)
                compare_differ(compare, path, "size", "it is %lld instead of %lld",
                               (long long)status.st_size, (long long)size);
        if (S_ISLNK(entry->mode))
                compare_symlink(compare, path, parent_fd, name, entry);
        compare_xattrs(compare, path, parent_fd, name, entry);
}

/* ---- what should not be there ---- */

static bool is_seen(const struct compare *compare, uint64_t hash)
{
        size_t low = 0, high = compare->seen_count;

        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (compare->seen[middle] == hash)
                        return true;
                if (compare->seen[middle] < hash)
                        low = middle + 1;
                else
                        high = middle;
        }
        return false;
}

static void look_at(struct compare *compare, const char *folder, const char *name, const char *path,
                    const struct stat *status)
{
        if (is_seen(compare, compare_hash(folder, name)))
                return;
        if (!table_get(compare->implied, path))
                compare_differ(compare, path, "entry", "the layer does not have it (%s)",
                               type_name(status->st_mode));
        else if (!S_ISDIR(status->st_mode))
                compare_differ(compare, path, "type", "it is %s instead of a folder",
                               type_name(status->st_mode));
        else if (status->st_uid != 0 || status->st_gid != 0 || (status->st_mode & 07777) != 0755)
                compare_differ(compare, path, "mode", "it is %u:%u %04o instead of 0:0 0755",
                               status->st_uid, status->st_gid, status->st_mode & 07777);
}

static int walk(struct compare *compare, int folder_fd, const char *folder, unsigned depth,
                struct error *err)
{
        int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        AUTO_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *each;

        if (!dir) {
                int number = errno;
                cleanup_fd(&fd);
                return error_errno(err, number, "reading folder %.*s", SHOWN_MAX, folder);
        }
        while ((errno = 0, each = readdir(dir))) {
                struct stat status;
                if (strcmp(each->d_name, ".") == 0 || strcmp(each->d_name, "..") == 0)
                        continue;
                AUTO_FREE char *path =
                        xprintf("%s%s%s", folder, folder[0] ? "/" : "", each->d_name);
                if (fstatat(fd, each->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                        return error_errno(err, errno, "looking at %.*s", SHOWN_MAX, path);
                look_at(compare, folder, each->d_name, path, &status);
                /* Deeper than any layer goes there is nothing of one. */
                if (!S_ISDIR(status.st_mode) || depth > FETCH_DEPTH_MAX)
                        continue;
                AUTO_FD int below =
                        openat(fd, each->d_name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (below < 0)
                        return error_errno(err, errno, "opening folder %.*s", SHOWN_MAX, path);
                int r = walk(compare, below, path, depth + 1, err);
                if (r < 0)
                        return r;
        }
        return errno ? error_errno(err, errno, "reading folder %.*s", SHOWN_MAX, folder) : 0;
}

int compare_walk(struct compare *compare, struct error *err)
{
        return walk(compare, compare->root_fd, "", 0, err);
}
