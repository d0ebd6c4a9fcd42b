#include "image/rootfs.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/rootfs_mapped.h"

/* mount(2) takes a page of options and cuts what is longer in silence: a cut at a colon mounts
 * fewer layers. */
#define OPTIONS_MAX 4096

#define THREAD_STACK_SIZE (64 * 1024)

#define FIRST_EMPTY  "../empty/1"
#define SECOND_EMPTY "../empty/2"

int rootfs_prepare(const struct store *store, const char *image_id, struct rootfs *rootfs,
                   struct error *err)
{
        return store_lower(store, image_id, &rootfs->links, &rootfs->lower, &rootfs->root, err);
}

void rootfs_fini(struct rootfs *rootfs)
{
        free(rootfs->links);
        free(rootfs->lower);
        free(rootfs->root);
        *rootfs = (struct rootfs){0};
}

/* ---- mounting ---- */

struct mount_call {
        int links_fd;
        const char *target, *options;
        unsigned long flags;
        int number; /* errno, or 0 */
};

/*
 * The layers' short names are relative to their folder. A thread that has a current folder of its
 * own goes there, and ends: the process's stays as it is.
 */
static void *mount_thread(void *argument)
{
        struct mount_call *call = argument;
        if (unshare(CLONE_FS) < 0 || fchdir(call->links_fd) < 0 ||
            mount("overlay", call->target, "overlay", call->flags, call->options) < 0)
                call->number = errno;
        return NULL;
}

static int mount_there(struct mount_call *call, struct error *err)
{
        pthread_attr_t attributes;
        pthread_t thread;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, THREAD_STACK_SIZE);
        int number = pthread_create(&thread, &attributes, mount_thread, call);
        pthread_attr_destroy(&attributes);
        if (number)
                return error_errno(err, number, "start a thread");
        pthread_join(thread, NULL);
        if (call->number)
                return error_errno(err, call->number, "mount overlayfs on %s", call->target);
        return 0;
}

/* A mount's options are separated by commas, and the kernel reads backslashes in them. */
static int check_path(const char *path, struct error *err)
{
        if (strpbrk(path, ",\\\n"))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "folder %s: overlayfs cannot use a path with a comma, a backslash "
                                 "or a newline",
                                 path);
        return 0;
}

/* Makes the writable layer's root with the owner and mode that the image's has: they show in the
 * container. */
static int make_upper(const struct rootfs *rootfs, int links_fd, const char *upper,
                      struct error *err)
{
        struct stat st = {.st_mode = 0755, .st_uid = rootfs->root_uid, .st_gid = rootfs->root_gid};
        if (rootfs->root[0] && fstatat(links_fd, rootfs->root, &st, 0) < 0)
                return error_errno(err, errno, "look at layer %s", rootfs->root);
        if (mkdir(upper, 0700) < 0) {
                if (errno == EEXIST)
                        return 0;
                return error_errno(err, errno, "make folder %s", upper);
        }
        if (chown(upper, st.st_uid, st.st_gid) < 0 || chmod(upper, st.st_mode & 07777) < 0)
                return error_errno(err, errno, "give %s the image's owner and mode", upper);
        return 0;
}

static int add_writable(const struct rootfs *rootfs, int links_fd, const char *directory,
                        struct buffer *options, struct error *err)
{
        AUTO_FREE char *upper = xprintf("%s/upper", directory);
        AUTO_FREE char *work = xprintf("%s/work", directory);
        int result = check_path(directory, err);
        if (result == 0)
                result = file_make_directories(directory, 0700, err);
        if (result == 0)
                result = make_upper(rootfs, links_fd, upper, err);
        /* A volatile mount that was not unmounted leaves a mark that refuses the next one. */
        if (result == 0)
                result = file_remove_tree(work, err);
        if (result < 0)
                return result;
        if (mkdir(work, 0700) < 0)
                return error_errno(err, errno, "make folder %s", work);
        buffer_printf(options, ",upperdir=%s,workdir=%s,volatile", upper, work);
        return 0;
}

static void add_lower(const struct rootfs *rootfs, bool writable, struct buffer *options)
{
        bool none = !rootfs->lower[0];
        bool several = strchr(rootfs->lower, ':') != NULL;
        buffer_printf(options, "index=off,metacopy=off,lowerdir=%s",
                      none ? FIRST_EMPTY : rootfs->lower);
        if (!writable && !several)
                buffer_add_text(options, ":" SECOND_EMPTY);
}

static int open_links(const struct rootfs *rootfs, const char *target, struct error *err)
{
        if (rootfs->user_namespace)
                return rootfs_mapped_open(rootfs, target, err);
        int fd = open(rootfs->links, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? error_errno(err, errno, "open %s", rootfs->links) : fd;
}

int rootfs_mount(const struct rootfs *rootfs, const char *directory, const char *target,
                 struct error *err)
{
        AUTO_BUFFER struct buffer options = BUFFER_INIT;
        int result = file_make_directories(target, 0755, err);
        AUTO_FD int links_fd = result < 0 ? result : open_links(rootfs, target, err);
        if (links_fd < 0)
                return error_context(err, "root filesystem");
        add_lower(rootfs, directory != NULL, &options);
        if (result == 0 && directory)
                result = add_writable(rootfs, links_fd, directory, &options, err);
        if (result < 0)
                return error_context(err, "root filesystem");
        /* In quotes, for a label has commas. */
        if (rootfs->label)
                buffer_printf(&options, ",context=\"%s\"", rootfs->label);
        if (options.length >= OPTIONS_MAX)
                return error_set(
                        err, ERROR_FAILED_PRECONDITION,
                        "root filesystem: %zu bytes of overlayfs options; mount(2) takes %d: "
                        "the image has too many layers",
                        options.length, OPTIONS_MAX - 1);
        struct mount_call call = {
                .links_fd = links_fd,
                .target = target,
                .options = options.data,
                .flags = directory ? 0 : MS_RDONLY,
        };
        result = mount_there(&call, err);
        if (result == 0 && rootfs->user_namespace)
                result = rootfs_mapped_close(target, err);
        return result < 0 ? error_context(err, "root filesystem") : 0;
}

/* ---- unmounting ---- */

int rootfs_unmount(const char *target, struct error *err)
{
        int result = rootfs_mapped_close(target, err);
        if (result < 0)
                return result;
        if (umount2(target, UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT)
                return 0;
        if (errno != EBUSY)
                return error_errno(err, errno, "unmount %s", target);
        if (umount2(target, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 && errno != EINVAL)
                return error_errno(err, errno, "detach %s", target);
        log_warning("root filesystem is still in use: it is detached", "path", target, NULL);
        return 0;
}

int rootfs_remove(const char *directory, struct error *err)
{
        AUTO_FREE char *upper = xprintf("%s/upper", directory);
        AUTO_FREE char *work = xprintf("%s/work", directory);
        int result = file_remove_tree(upper, err);
        return result < 0 ? result : file_remove_tree(work, err);
}
