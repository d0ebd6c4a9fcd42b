#include "image/rootfs_mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mapped_mount.h"
#include "base/memory.h"

/* The folder of short names, seen from the store, and the other way. */
#define LINKS    "l"
#define TO_STORE "../"

static char *folder_of(const char *target)
{
        return xprintf("%s.lower", target);
}

static int make_folder(const char *path, struct error *err)
{
        return mkdir(path, 0700) < 0 && errno != EEXIST
                       ? error_errno(err, errno, "make folder %s", path)
                       : 0;
}

static int mount_mapped(const char *source, int namespace_fd, const char *target, struct error *err)
{
        AUTO_FD int fd = open(source, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", source);
        int result = make_folder(target, err);
        if (result == 0)
                result = mapped_mount_make(fd, namespace_fd, MAPPED_MOUNT_READ_ONLY, target, err);
        return result < 0 ? error_context(err, "folder %s with mapped owners", source) : 0;
}

/* What a short name leads to: relative to its folder, or the absolute path of a lent layer. */
static int read_name(int links_fd, const char *name, char place[PATH_MAX], struct error *err)
{
        ssize_t length = readlinkat(links_fd, name, place, PATH_MAX);
        if (length < 0 || length >= PATH_MAX)
                return error_errno(err, length < 0 ? errno : ENAMETOOLONG, "short name %s", name);
        place[length] = '\0';
        return 0;
}

/* Calls each for every short name of "12:7:3", until one fails. */
struct names {
        int links_fd, namespace_fd;
        const char *folder;
        bool lent; /* one of them is */
        struct error *err;
};

static int each_name(const struct rootfs *rootfs, struct names *names,
                     int (*each)(struct names *names, const char *name, const char *place))
{
        AUTO_FREE char *copy = xstrdup(rootfs->lower);
        char *rest = copy, place[PATH_MAX];
        int result = 0;
        for (char *name; result == 0 && (name = strsep(&rest, ":"));) {
                if (!*name)
                        continue;
                result = read_name(names->links_fd, name, place, names->err);
                if (result == 0)
                        result = each(names, name, place);
        }
        return result;
}

static int note_lent(struct names *names, const char *name, const char *place)
{
        (void)name;
        names->lent = names->lent || *place == '/';
        return 0;
}

/* ---- where layers are lent ---- */

/* The same name in a folder of our own, which leads to the mapped layer. */
static int place_name(struct names *names, const char *name, const char *place)
{
        AUTO_FREE char *link = xprintf("%s/" LINKS "/%s", names->folder, name);
        AUTO_FREE char *extra = xprintf("%s/extra/%s", names->folder, name);
        bool lent = *place == '/';
        AUTO_FREE char *to =
                lent ? xprintf("../extra/%s", name)
                     : xprintf("../store/%s", place + (strncmp(place, TO_STORE, 3) == 0 ? 3 : 0));
        if (symlink(to, link) < 0)
                return error_errno(names->err, errno, "make short name %s", link);
        return lent ? mount_mapped(place, names->namespace_fd, extra, names->err) : 0;
}

/* A tmpfs holds it, so that one unmount takes all of it away. */
static int make_farm(const struct rootfs *rootfs, const char *store, struct names *names)
{
        static const char *const parts[] = {LINKS, "extra"};
        if (mount("lower", names->folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") <
            0)
                return error_errno(names->err, errno, "mount a tmpfs on %s", names->folder);
        AUTO_FREE char *mapped = xprintf("%s/store", names->folder);
        AUTO_FREE char *empty = xprintf("%s/empty", names->folder);
        int result = mount_mapped(store, names->namespace_fd, mapped, names->err);
        for (size_t i = 0; result == 0 && i < sizeof parts / sizeof *parts; i++) {
                AUTO_FREE char *path = xprintf("%s/%s", names->folder, parts[i]);
                result = make_folder(path, names->err);
        }
        if (result == 0 && symlink("store/empty", empty) < 0)
                result = error_errno(names->err, errno, "make short name %s", empty);
        return result == 0 ? each_name(rootfs, names, place_name) : result;
}

/* ---- both ---- */

static int mount_layers(const struct rootfs *rootfs, struct names *names)
{
        const char *slash = strrchr(rootfs->links, '/');
        AUTO_FREE char *store = xstrndup(rootfs->links, (size_t)(slash - rootfs->links));
        int result = each_name(rootfs, names, note_lent);
        if (result < 0)
                return result;
        return names->lent ? make_farm(rootfs, store, names)
                           : mount_mapped(store, names->namespace_fd, names->folder, names->err);
}

int rootfs_mapped_open(const struct rootfs *rootfs, const char *target, struct error *err)
{
        AUTO_FREE char *folder = folder_of(target);
        AUTO_FREE char *links = xprintf("%s/" LINKS, folder);
        AUTO_FD int namespace_fd = open(rootfs->user_namespace, O_RDONLY | O_CLOEXEC);
        if (namespace_fd < 0)
                return error_errno(err, errno, "open %s", rootfs->user_namespace);
        AUTO_FD int links_fd = open(rootfs->links, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (links_fd < 0)
                return error_errno(err, errno, "open %s", rootfs->links);
        int result = rootfs_mapped_close(target, err);
        if (result == 0)
                result = file_make_directories(folder, 0700, err);
        struct names names = {
                .links_fd = links_fd, .namespace_fd = namespace_fd, .folder = folder, .err = err};
        if (result == 0)
                result = mount_layers(rootfs, &names);
        if (result < 0)
                return result;
        int fd = open(links, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? error_errno(err, errno, "open %s", links) : fd;
}

int rootfs_mapped_close(const char *target, struct error *err)
{
        AUTO_FREE char *folder = folder_of(target);
        if (umount2(folder, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 && errno != EINVAL && errno != ENOENT)
                return error_errno(err, errno, "unmount %s", folder);
        if (rmdir(folder) < 0 && errno != ENOENT)
                return error_errno(err, errno, "remove %s", folder);
        return 0;
}
