#include "oci/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

/* ---- texts ---- */

bool device_is_access(const char *text)
{
        size_t length = strlen(text);
        if (length == 0 || length > 3 || strspn(text, "rwm") != length)
                return false;
        for (size_t i = 1; i < length; i++)
                if (memchr(text, text[i], i))
                        return false;
        return true;
}

static bool is_below_dev(const char *path)
{
        if (strncmp(path, "/dev/", 5) != 0 || !path[5])
                return false;
        for (const char *at = strstr(path, "/.."); at; at = strstr(at + 1, "/.."))
                if (!at[3] || at[3] == '/')
                        return false;
        return true;
}

int device_parse(struct arena *arena, const char *text, struct device_text *device,
                 struct error *err)
{
        struct device_text found = {0};
        char *rest = arena_strdup(arena, text), *parts[3] = {rest};
        size_t count = 0;
        while (count < 3 && rest)
                parts[count++] = strsep(&rest, ":");
        found.source = parts[0];
        if (rest || !found.source || (parts[2] && !device_is_access(parts[2])))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "device \"%s\": not SOURCE[:DESTINATION][:ACCESS], with ACCESS of "
                                 "the letters r, w and m",
                                 text);
        found.access = parts[2];
        if (parts[1] && !parts[2] && device_is_access(parts[1]))
                found.access = parts[1];
        else
                found.destination = parts[1];
        if (!found.destination || !*found.destination)
                found.destination = found.source;
        if (!found.access)
                found.access = (char *)"rwm";
        if (*found.source != '/')
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "device \"%s\": its source is not an absolute path", text);
        if (!is_below_dev(found.destination))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "device \"%s\": its destination is not below /dev", text);
        *device = found;
        return 0;
}

/* ---- lists ---- */

int device_list_add(struct device_list *list, const struct spec_device *device, struct error *err)
{
        for (size_t i = 0; i < list->count; i++) {
                if (strcmp(list->devices[i].path, device->path) == 0) {
                        list->devices[i] = *device;
                        return 0;
                }
        }
        if (list->count == DEVICE_COUNT_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "more than %d devices",
                                 DEVICE_COUNT_MAX);
        if (list->count == list->room) {
                size_t room = list->room ? list->room * 2 : 32;
                struct spec_device *larger = arena_array(list->arena, room, sizeof *larger);
                if (list->count)
                        memcpy(larger, list->devices, list->count * sizeof *larger);
                list->devices = larger;
                list->room = room;
        }
        list->devices[list->count++] = *device;
        return 0;
}

struct walk {
        struct device_list *list;
        const char *access;
        const struct device_owner *owner; /* or null */
        bool host;                        /* the host's /dev as a whole */
        size_t found;
        const char *source; /* on the host, of what has this path in the container */
        const char *path;
        struct error *err;
};

static int add_node(struct walk *walk, const struct stat *st, const char *path)
{
        const struct device_owner *owner = walk->owner;
        struct spec_device device = {
                .path = path,
                .source = arena_printf(walk->list->arena, "%s%s", walk->source,
                                       path + strlen(walk->path)),
                .type = S_ISCHR(st->st_mode) ? 'c' : 'b',
                .device_major = major(st->st_rdev),
                .device_minor = minor(st->st_rdev),
                .mode = st->st_mode & 07777,
                .uid = owner && owner->uid >= 0 ? (uint32_t)owner->uid : st->st_uid,
                .gid = owner && owner->gid >= 0 ? (uint32_t)owner->gid : st->st_gid,
                .access = walk->access,
        };
        walk->found++;
        return device_list_add(walk->list, &device, walk->err);
}

static bool is_device(const struct stat *st)
{
        return S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);
}

/* What the runtime makes by itself, or what is the host's alone. */
static bool is_passed_over(const struct walk *walk, const char *name, unsigned depth)
{
        static const char *const own[] = {"pts",  "shm",  "mqueue",      "fd",
                                          "ptmx", ".lxc", ".lxd-mounts", ".udev"};
        if (!walk->host)
                return false;
        /* runc and crun make /dev/console of the container's terminal. */
        if (strcmp(name, "console") == 0)
                return true;
        for (size_t i = 0; depth == 0 && i < sizeof own / sizeof *own; i++)
                if (strcmp(name, own[i]) == 0)
                        return true;
        return false;
}

static int walk_folder(struct walk *walk, int fd, const char *path, unsigned depth);

static int walk_entry(struct walk *walk, int folder_fd, const char *folder, const char *name,
                      unsigned depth)
{
        struct stat st;
        if (is_passed_over(walk, name, depth) ||
            fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0; /* it may have gone since: devices come and go */
        if (!S_ISDIR(st.st_mode) && (!is_device(&st) || st.st_rdev == 0))
                return 0;
        char *path = arena_printf(walk->list->arena, "%s/%s", folder, name);
        if (!S_ISDIR(st.st_mode))
                return add_node(walk, &st, path);
        if (depth + 1 == DEVICE_DEPTH_MAX)
                return error_set(walk->err, ERROR_FAILED_PRECONDITION,
                                 "%s: folders are nested deeper than %d", path, DEVICE_DEPTH_MAX);
        int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? 0 : walk_folder(walk, fd, path, depth + 1);
}

/* Takes fd. Entries in the order of their names, so that the same folder gives the same list. */
static int walk_folder(struct walk *walk, int fd, const char *path, unsigned depth)
{
        AUTO_FD int folder_fd = fd;
        struct dirent **entries = NULL;
        int result = 0, count = scandirat(folder_fd, ".", &entries, NULL, alphasort);
        for (int i = 0; i < count; i++) {
                const char *name = entries[i]->d_name;
                if (result == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
                        result = walk_entry(walk, folder_fd, path, name, depth);
                free(entries[i]);
        }
        free(entries);
        return result;
}

int device_list_add_path(struct device_list *list, const char *host_path, const char *path,
                         const char *access, const struct device_owner *owner, struct error *err)
{
        struct walk walk = {.list = list,
                            .access = access,
                            .owner = owner,
                            .source = host_path,
                            .path = path,
                            .err = err};
        struct stat st;
        /* Not opened for reading: opening a device may do something to it. */
        AUTO_FD int fd = open(host_path, O_PATH | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(err, errno, "device %s", host_path);
        if (is_device(&st))
                return add_node(&walk, &st, path);
        if (!S_ISDIR(st.st_mode))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "device %s: neither a device nor a folder", host_path);
        int folder = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
                return error_errno(err, errno, "device %s", host_path);
        int result = walk_folder(&walk, folder, path, 0);
        if (result == 0 && walk.found == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "device %s: there are no devices in this folder", host_path);
        return result;
}

int device_list_add_host(struct device_list *list, struct error *err)
{
        struct walk walk = {.list = list,
                            .access = "rwm",
                            .host = true,
                            .source = "/dev",
                            .path = "/dev",
                            .err = err};
        int fd = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open /dev");
        return walk_folder(&walk, fd, "/dev", 0);
}
