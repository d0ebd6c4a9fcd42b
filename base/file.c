#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/id.h"
#include "base/memory.h"

#define READ_STEP    4096
#define USAGE_DEPTH  100 /* descriptors held while a tree is measured */
#define REMOVE_DEPTH 100 /* and while one is removed: what is deeper is moved up first */
#define MOVED_NAME   16  /* digits of a name for what is moved up */

int file_read(const char *path, size_t max, struct buffer *contents, struct error *err)
{
        AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        size_t before = contents->length;
        for (;;) {
                char *end = buffer_reserve(contents, READ_STEP);
                ssize_t count = read(fd, end, READ_STEP);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0) {
                        int number = errno;
                        contents->length = before;
                        return error_errno(err, number, "read %s", path);
                }
                if (count == 0)
                        break;
                contents->length += (size_t)count;
                if (contents->length - before > max) {
                        contents->length = before;
                        return error_errno(err, EFBIG, "read %s: more than %zu bytes", path, max);
                }
        }
        buffer_add(contents, "", 0);
        return 0;
}

int file_read_plain(int folder_fd, const char *name, size_t max, struct buffer *contents,
                    struct error *err)
{
        struct stat st;
        AUTO_FD int fd =
                openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(err, errno, "read %.200s", name);
        if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size > max)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%.200s is not a file of 1 to %zu bytes", name, max);
        char *to = buffer_reserve(contents, (size_t)st.st_size + 1);
        ssize_t length = read(fd, to, (size_t)st.st_size);
        if (length != st.st_size)
                return error_errno(err, length < 0 ? errno : EIO, "read %.200s", name);
        contents->length += (size_t)length;
        contents->data[contents->length] = '\0';
        return 0;
}

int file_write(const char *path, const char *text, struct error *err)
{
        /* The kernel's files take O_TRUNC and do nothing; it is for plain ones in their place. */
        AUTO_FD int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        size_t length = strlen(text);
        ssize_t count = write(fd, text, length);
        if (count < 0)
                return error_errno(err, errno, "write \"%s\" to %s", text, path);
        if ((size_t)count != length)
                return error_errno(err, EIO, "write \"%s\" to %s: only %zd bytes", text, path,
                                   count);
        return 0;
}

static int write_whole(int fd, const char *bytes, size_t length)
{
        while (length) {
                ssize_t count = write(fd, bytes, length);
                if (count < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                bytes += count;
                length -= (size_t)count;
        }
        return 0;
}

static char *parent_of(const char *path)
{
        const char *slash = strrchr(path, '/');
        if (!slash)
                return xstrdup(".");
        return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

int file_sync_parent(const char *path, struct error *err)
{
        AUTO_FREE char *parent = parent_of(path);
        AUTO_FD int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", parent);
        if (fsync(fd) < 0)
                return error_errno(err, errno, "sync %s", parent);
        return 0;
}

static int replace(const char *path, const void *bytes, size_t length, mode_t mode, bool durable,
                   struct error *err)
{
        char suffix[9];
        id_random_hex(suffix, sizeof suffix - 1);
        AUTO_FREE char *beside = xprintf("%s.%s.new", path, suffix);
        AUTO_FD int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return error_errno(err, errno, "create %s", beside);
        int result = write_whole(fd, bytes, length);
        if (result == 0 && fchmod(fd, mode) < 0)
                result = -errno;
        if (result == 0 && durable && fsync(fd) < 0)
                result = -errno;
        if (result == 0 && rename(beside, path) < 0)
                result = -errno;
        if (result < 0) {
                unlink(beside);
                return error_errno(err, result, "write %s", path);
        }
        return durable ? file_sync_parent(path, err) : 0;
}

int file_replace(const char *path, const void *bytes, size_t length, mode_t mode, struct error *err)
{
        return replace(path, bytes, length, mode, true, err);
}

int file_replace_volatile(const char *path, const void *bytes, size_t length, mode_t mode,
                          struct error *err)
{
        return replace(path, bytes, length, mode, false, err);
}

int file_make_directories(const char *path, mode_t mode, struct error *err)
{
        if (mkdir(path, mode) == 0)
                return 0;
        if (errno == ENOENT) {
                AUTO_FREE char *parent = parent_of(path);
                if (strcmp(parent, path) == 0 || strcmp(parent, ".") == 0)
                        return error_errno(err, ENOENT, "make folder %s", path);
                int result = file_make_directories(parent, mode, err);
                if (result < 0)
                        return result;
                if (mkdir(path, mode) == 0)
                        return 0;
        }
        if (errno == EEXIST) {
                struct stat st;
                if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
                        return 0;
                return error_errno(err, ENOTDIR, "make folder %s", path);
        }
        return error_errno(err, errno, "make folder %s", path);
}

/*
 * Opens the folder name of parent_fd. -EXDEV when something is
 * mounted there, also what is of the same file system: a bind mount, whose device number is the
 * same.
 */
static int open_folder(int parent_fd, const char *name)
{
        struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
        };
        long fd;
        do
                fd = syscall(SYS_openat2, parent_fd, name, &how, sizeof how);
        while (fd < 0 && (errno == EINTR || errno == EAGAIN));
        return fd < 0 ? -errno : (int)fd;
}

struct removal {
        int root_fd; /* the tree's own folder, once it is open; else -1 */
        size_t moved;
};

/* A container makes trees as deep as it likes: what lies too deep comes to the tree's top. */
static int move_up(struct removal *removal, int parent_fd, const char *name, struct error *err)
{
        char moved[MOVED_NAME + 1];
        id_random_hex(moved, MOVED_NAME);
        if (renameat(parent_fd, name, removal->root_fd, moved) < 0)
                return error_errno(err, errno, "remove %s", name);
        removal->moved++;
        return 0;
}

static int remove_at(struct removal *removal, int parent_fd, const char *name, int depth,
                     struct error *err);

static int remove_contents(struct removal *removal, DIR *dir, int depth, struct error *err)
{
        struct dirent *entry;
        rewinddir(dir);
        while ((entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                int result = remove_at(removal, dirfd(dir), entry->d_name, depth + 1, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

/* Removes name below parent_fd. Descends through descriptors, so that a renamed or swapped folder
 * leads nowhere. */
static int remove_at(struct removal *removal, int parent_fd, const char *name, int depth,
                     struct error *err)
{
        if (unlinkat(parent_fd, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return error_errno(err, errno, "remove %s", name);
        if (depth > REMOVE_DEPTH)
                return move_up(removal, parent_fd, name, err);
        AUTO_FD int fd = open_folder(parent_fd, name);
        if (fd == -EXDEV)
                return error_errno(err, EBUSY, "remove %s: a file system is mounted there", name);
        if (fd < 0)
                return fd == -ENOENT ? 0 : error_errno(err, fd, "remove %s", name);
        AUTO_DIR DIR *dir = fdopendir(fd);
        if (!dir)
                return error_errno(err, errno, "remove %s", name);
        take_fd(&fd);
        if (depth == 0)
                removal->root_fd = dirfd(dir);
        size_t moved;
        do {
                moved = removal->moved;
                int result = remove_contents(removal, dir, depth, err);
                if (result < 0) {
                        error_context(err, "%s", name);
                        return result;
                }
        } while (depth == 0 && removal->moved != moved);
        if (unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                return error_errno(err, errno, "remove %s", name);
        return 0;
}

int file_remove_tree(const char *path, struct error *err)
{
        AUTO_FREE char *parent = parent_of(path);
        const char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        AUTO_FD int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : error_errno(err, errno, "remove %s", path);
        struct removal removal = {.root_fd = -1};
        int result = remove_at(&removal, fd, name, 0, err);
        if (result < 0)
                error_context(err, "%s", parent);
        return result;
}

int file_open_in(int root_fd, const char *path, int flags, mode_t mode, struct error *err)
{
        struct open_how how = {
                .flags = (uint64_t)(flags | O_CLOEXEC),
                .mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0,
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };
        long fd;
        do
                fd = syscall(SYS_openat2, root_fd, path, &how, sizeof how);
        while (fd < 0 && (errno == EINTR || errno == EAGAIN));
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        return (int)fd;
}

/* A file with several links, which counts once. */
struct linked {
        ino_t inode;
        unsigned long long bytes;
};

struct usage {
        unsigned long long bytes, inodes;
        dev_t device;
        struct linked *linked; /* as they were met: the same file may be there several times */
        size_t linked_count, linked_size;
};

static void add_linked(struct usage *usage, const struct stat *st)
{
        if (usage->linked_count == usage->linked_size) {
                usage->linked_size = usage->linked_size ? usage->linked_size * 2 : 64;
                usage->linked = xrealloc(usage->linked, usage->linked_size * sizeof *usage->linked);
        }
        usage->linked[usage->linked_count++] =
                (struct linked){st->st_ino, (unsigned long long)st->st_blocks * 512};
}

static int by_inode(const void *left, const void *right)
{
        ino_t a = ((const struct linked *)left)->inode, b = ((const struct linked *)right)->inode;
        return a < b ? -1 : a > b;
}

static void count_linked(struct usage *usage)
{
        if (usage->linked_count)
                qsort(usage->linked, usage->linked_count, sizeof *usage->linked, by_inode);
        for (size_t i = 0; i < usage->linked_count; i++) {
                if (i > 0 && usage->linked[i].inode == usage->linked[i - 1].inode)
                        continue;
                usage->bytes += usage->linked[i].bytes;
                usage->inodes++;
        }
}

/* Counts one entry; *folder says whether there may be more below it. */
static int count_entry(struct usage *usage, int parent_fd, const char *name, bool *folder,
                       struct error *err)
{
        struct stat st;
        *folder = false;
        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : error_errno(err, errno, "measure %s", name);
        if (!usage->device)
                usage->device = st.st_dev;
        if (st.st_dev != usage->device)
                return 0;
        if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
                add_linked(usage, &st);
                return 0;
        }
        usage->bytes += (unsigned long long)st.st_blocks * 512;
        usage->inodes++;
        *folder = S_ISDIR(st.st_mode);
        return 0;
}

/* A folder on the way down below USAGE_DEPTH. */
struct level {
        char **folders; /* strv: those in it, or null */
        size_t next;
        dev_t device;
        ino_t inode;
};

static int read_level(struct usage *usage, int fd, struct level *level, struct error *err)
{
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, errno, "measure a folder");
        *level = (struct level){.device = st.st_dev, .inode = st.st_ino};
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        AUTO_DIR DIR *dir = copy < 0 ? NULL : fdopendir(copy);
        if (!dir) {
                int number = errno;
                if (copy >= 0)
                        close(copy);
                return error_errno(err, number, "measure a folder");
        }
        struct dirent *entry;
        while ((entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                bool folder;
                int result = count_entry(usage, fd, entry->d_name, &folder, err);
                if (result < 0) {
                        strv_free(take_ptr(level->folders));
                        return result;
                }
                if (folder)
                        strv_push(&level->folders, entry->d_name);
        }
        return 0;
}

/* Goes back to the folder above, unless somebody has moved this one elsewhere meanwhile. */
static int go_up(int fd, const struct level *above)
{
        struct stat st;
        AUTO_FD int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (up < 0 || fstat(up, &st) < 0 || st.st_dev != above->device || st.st_ino != above->inode)
                return -1;
        return take_fd(&up);
}

/* What is below a folder, however deep, with one descriptor and without recursion. */
static int add_deep(struct usage *usage, int parent_fd, const char *name, struct error *err)
{
        struct level *levels = NULL;
        size_t count = 0, size = 0;
        int result = 0;
        int fd = open_folder(parent_fd, name);
        bool entered = fd >= 0;
        while (fd >= 0 && result == 0) {
                if (entered) {
                        if (count == size) {
                                size = size ? size * 2 : 64;
                                levels = xrealloc(levels, size * sizeof *levels);
                        }
                        result = read_level(usage, fd, &levels[count], err);
                        count += result == 0;
                        entered = false;
                        continue;
                }
                struct level *level = &levels[count - 1];
                int next;
                if (level->folders && level->folders[level->next]) {
                        next = open_folder(fd, level->folders[level->next++]);
                        if (next < 0) /* gone, or a mount */
                                continue;
                        entered = true;
                } else {
                        strv_free(level->folders);
                        next = --count ? go_up(fd, &levels[count - 1]) : -1;
                }
                close(fd);
                fd = next;
        }
        if (fd >= 0)
                close(fd);
        while (count)
                strv_free(levels[--count].folders);
        free(levels);
        return result;
}

static int add_usage(struct usage *usage, int parent_fd, const char *name, int depth,
                     struct error *err)
{
        bool folder;
        int result = count_entry(usage, parent_fd, name, &folder, err);
        if (result < 0 || !folder)
                return result;
        if (depth > USAGE_DEPTH)
                return add_deep(usage, parent_fd, name, err);
        /* The path that was asked for may lead over mounts, what is below it not. */
        int fd = depth ? open_folder(parent_fd, name)
                       : openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int number = depth ? -fd : errno;
        if (fd < 0)
                return number == ENOENT || number == EXDEV
                               ? 0
                               : error_errno(err, number, "measure %s", name);
        AUTO_DIR DIR *dir = fdopendir(fd);
        if (!dir) {
                number = errno;
                close(fd);
                return error_errno(err, number, "measure %s", name);
        }
        struct dirent *entry;
        while ((entry = readdir(dir))) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                result = add_usage(usage, fd, entry->d_name, depth + 1, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

int file_tree_usage(const char *path, unsigned long long *bytes, unsigned long long *inodes,
                    struct error *err)
{
        struct usage usage = {0};
        int result = add_usage(&usage, AT_FDCWD, path, 0, err);
        count_linked(&usage);
        free(usage.linked);
        if (result < 0)
                return result;
        *bytes = usage.bytes;
        *inodes = usage.inodes;
        return 0;
}
