#include "image/fetch/attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "image/fetch/limits.h"

#define SHOWN_MAX             200
#define XATTR_NAME_LENGTH_MAX 255 /* XATTR_NAME_MAX */

static bool starts_with(const char *text, const char *prefix)
{
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

int attributes_check(const struct tree_entry *entry, struct error *err)
{
        for (size_t i = 0; i < entry->xattr_count; i++) {
                const struct tree_xattr *xattr = &entry->xattrs[i];
                if (starts_with(xattr->name, "trusted.overlay.") ||
                    starts_with(xattr->name, "user.overlay."))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "the attribute %.*s, which only overlayfs may have",
                                         SHOWN_MAX, xattr->name);
                if (strlen(xattr->name) > XATTR_NAME_LENGTH_MAX ||
                    xattr->size > FETCH_XATTR_VALUE_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "the attribute %.*s is longer than Linux has them",
                                         SHOWN_MAX, xattr->name);
        }
        return 0;
}

/* What setting an attribute failed with, or 0 where it may be left out. */
static int judge_xattr(int number, const char *name, mode_t mode)
{
        /* Namespaces of other systems (com.apple.*), and file systems without the feature. */
        if (number == EOPNOTSUPP)
                return 0;
        if (number != EPERM)
                return number;
        /* Linux has user.* for files and folders alone. */
        if (starts_with(name, "user.") && !S_ISREG(mode) && !S_ISDIR(mode))
                return 0;
        /*
         * trusted.* and what security modules keep need CAP_SYS_ADMIN, which we have given up. They
         * give a container nothing; a file's capabilities would, and those may be set.
         */
        if (starts_with(name, "trusted.") ||
            (starts_with(name, "security.") && strcmp(name, "security.capability") != 0))
                return 0;
        return number;
}

/* Sets them on fd, or on path where fd is -1. */
static int set_xattrs(int fd, const char *path, const struct tree_entry *entry, struct error *err)
{
        for (size_t i = 0; i < entry->xattr_count; i++) {
                const struct tree_xattr *xattr = &entry->xattrs[i];
                /* Labels are for the policy of the machine where they were made. */
                if (strcmp(xattr->name, "security.selinux") == 0)
                        continue;
                int r = fd >= 0 ? fsetxattr(fd, xattr->name, xattr->value, xattr->size, 0)
                                : lsetxattr(path, xattr->name, xattr->value, xattr->size, 0);
                int number = r < 0 ? judge_xattr(errno, xattr->name, entry->mode) : 0;
                if (number != 0)
                        return error_errno(err, number, "setting the attribute %.*s", SHOWN_MAX,
                                           xattr->name);
        }
        return 0;
}

int attributes_set(int fd, const struct tree_entry *entry, struct error *err)
{
        int r = attributes_check(entry, err);
        if (r < 0)
                return r;
        /*
         * Most files are made with the owner and mode that they are to have. To see that costs a
         * tenth of what setting them again does, which is a change of the inode for the file
         * system's journal each time. Written files and changed owners have lost their set-id bits,
         * so that a mode with those differs.
         */
        struct stat status;
        if (fstat(fd, &status) < 0)
                return error_errno(err, errno, "looking at it");
        bool moved = status.st_uid != entry->uid || status.st_gid != entry->gid;
        /* In this order: chown clears set-id bits and capabilities, chmod rewrites an ACL's mask.
         */
        if (moved && fchown(fd, entry->uid, entry->gid) < 0)
                return error_errno(err, errno, "setting owner %u:%u", entry->uid, entry->gid);
        if ((moved || (status.st_mode & 07777) != (entry->mode & 07777)) &&
            fchmod(fd, entry->mode & 07777) < 0)
                return error_errno(err, errno, "setting mode %04o", entry->mode & 07777);
        return set_xattrs(fd, NULL, entry, err);
}

int attributes_set_at(int parent_fd, const char *name, const struct tree_entry *entry,
                      struct error *err)
{
        if (fchownat(parent_fd, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(err, errno, "setting owner %u:%u", entry->uid, entry->gid);
        if (!S_ISLNK(entry->mode) && fchmodat(parent_fd, name, entry->mode & 07777, 0) < 0)
                return error_errno(err, errno, "setting mode %04o", entry->mode & 07777);
        if (entry->xattr_count > 0) {
                /* There is no call that sets attributes relative to a descriptor; this path is one
                 * nevertheless. */
                AUTO_FREE char *path = xprintf("/proc/self/fd/%d/%s", parent_fd, name);
                int r = set_xattrs(-1, path, entry, err);
                if (r < 0)
                        return r;
        }
        struct timespec times[2] = {entry->modified, entry->modified};
        if (utimensat(parent_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(err, errno, "setting its time");
        return 0;
}
