#include "cri/mount_source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/tree.h"

#define FOLDER_MODE 0755

/* ---- finding ---- */

static bool is_rejected(char *const *rejected, const char *path)
{
        size_t length = strlen(path);
        while (length > 1 && path[length - 1] == '/')
                length--;
        for (; rejected && *rejected; rejected++)
                if (strncmp(*rejected, path, length) == 0 && !(*rejected)[length])
                        return true;
        return false;
}

/* With a prefix symlinks are followed below it, where they were meant. */
static int open_path(int prefix_fd, const char *host_path, struct error *err)
{
        if (prefix_fd >= 0)
                return file_open_in(prefix_fd, host_path, O_PATH, 0, err);
        int fd = open(host_path, O_PATH | O_CLOEXEC);
        return fd < 0 ? error_errno(err, errno, "open %s", host_path) : fd;
}

static int make_missing(int prefix_fd, const char *host_path, struct error *err)
{
        return prefix_fd >= 0 ? tree_make_directories(prefix_fd, host_path, FOLDER_MODE, 0, 0, err)
                              : file_make_directories(host_path, FOLDER_MODE, err);
}

/* The kernel's own name for what is open; what has been removed since has none. */
static int read_path(struct mount_source *source, struct error *err)
{
        char link[64], path[PATH_MAX];
        struct stat st, again;
        snprintf(link, sizeof link, "/proc/self/fd/%d", source->fd);
        ssize_t length = readlink(link, path, sizeof path);
        if (length < 0 || length >= (ssize_t)sizeof path)
                return error_errno(err, length < 0 ? errno : ENAMETOOLONG, "read its path");
        path[length] = '\0';
        if (fstat(source->fd, &st) < 0 || stat(path, &again) < 0)
                return error_errno(err, errno, "look at %s", path);
        if (st.st_dev != again.st_dev || st.st_ino != again.st_ino)
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s was changed meanwhile", path);
        source->type = st.st_mode & S_IFMT;
        source->path = xstrdup(path);
        return 0;
}

static int find(int prefix_fd, const char *host_path, char *const *rejected,
                struct mount_source *source, struct error *err)
{
        source->fd = open_path(prefix_fd, host_path, err);
        if (source->fd == -ENOENT) {
                if (is_rejected(rejected, host_path))
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "it is missing, and is not made as a folder "
                                         "(runtime.absent_mount_sources_to_reject)");
                int result = make_missing(prefix_fd, host_path, err);
                if (result < 0)
                        return result;
                source->fd = open_path(prefix_fd, host_path, err);
        }
        return source->fd < 0 ? source->fd : read_path(source, err);
}

int mount_source_find(const char *prefix, const char *host_path, char *const *rejected,
                      struct mount_source *source, struct error *err)
{
        AUTO_MOUNT_SOURCE struct mount_source found = MOUNT_SOURCE_INIT;
        AUTO_FD int prefix_fd = -1;
        if (*prefix) {
                prefix_fd = open(prefix, O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (prefix_fd < 0)
                        return error_errno(err, errno, "runtime.bind_mount_prefix: open %s",
                                           prefix);
        }
        int result = find(prefix_fd, host_path, rejected, &found, err);
        if (result < 0)
                return error_context(err, "host path %s%s", prefix, host_path);
        *source = (struct mount_source){
                .fd = take_fd(&found.fd), .path = take_ptr(found.path), .type = found.type};
        return 0;
}

void mount_source_fini(struct mount_source *source)
{
        cleanup_fd(&source->fd);
        cleanup_free(&source->path);
        *source = (struct mount_source)MOUNT_SOURCE_INIT;
}

/* ---- how it spreads ---- */

/* The line's fields are: number, parent, device, root, place, options, any of "shared:N" and the
 * like, "-". */
bool mount_source_parse(const char *text, uint64_t number, enum mount_source_spread *spread,
                        const char **place, size_t *length)
{
        for (const char *line = text; *line;) {
                const char *end = line + strcspn(line, "\n");
                char *after;
                if (strtoull(line, &after, 10) == number && after != line) {
                        const char *field = line;
                        *spread = MOUNT_SOURCE_PRIVATE;
                        *place = "";
                        *length = 0;
                        for (unsigned i = 0; field < end; i++) {
                                size_t size = strcspn(field, " \n");
                                if (i == 4) {
                                        *place = field;
                                        *length = size;
                                }
                                if (i >= 6 && size == 1 && *field == '-')
                                        return true;
                                if (i >= 6 && strncmp(field, "shared:", 7) == 0)
                                        *spread = MOUNT_SOURCE_SHARED;
                                else if (i >= 6 && strncmp(field, "master:", 7) == 0 &&
                                         *spread == MOUNT_SOURCE_PRIVATE)
                                        *spread = MOUNT_SOURCE_SLAVE;
                                field += size + (field[size] == ' ');
                        }
                        return true;
                }
                line = *end ? end + 1 : end;
        }
        return false;
}

int mount_source_require(const struct mount_source *source, enum mount_source_spread wanted,
                         struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct statx st;
        if (statx(source->fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
                return error_errno(err, errno, "look at the mount of %s", source->path);
        int result = file_read("/proc/thread-self/mountinfo", MOUNT_SOURCE_TABLE_MAX, &text, err);
        if (result < 0)
                return result;
        enum mount_source_spread spread;
        const char *place;
        size_t length;
        if (!(st.stx_mask & STATX_MNT_ID) ||
            !mount_source_parse(text.data ? text.data : "", st.stx_mnt_id, &spread, &place,
                                &length))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the mount of %s is not in /proc/self/mountinfo", source->path);
        if (spread >= wanted)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "path \"%s\" is mounted on \"%.*s\" but it is not a shared%s mount",
                         source->path, (int)length, place,
                         wanted == MOUNT_SOURCE_SLAVE ? " or slave" : "");
}

bool mount_source_is_below(const char *path, const char *folder)
{
        size_t length = strlen(folder);
        if (length == 1)
                return true; /* "/" */
        return strncmp(path, folder, length) == 0 && (!path[length] || path[length] == '/');
}
