#include "image/layer.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/memory.h"
#include "base/sha256.h"

#define OPAQUE "trusted.overlay.opaque"

const char *layer_hex(const char *digest)
{
        const char *colon = strchr(digest, ':');
        return colon ? colon + 1 : digest;
}

char *layer_place_name(const struct layer *layer)
{
        const char *folder = layer->is_fixup      ? "fixups"
                             : layer->is_artifact ? "artifacts"
                                                  : "layers";
        return xprintf("%s/%s", folder, layer_hex(layer->name));
}

char *layer_path(const struct layer *layer)
{
        char *name = layer_place_name(layer);
        if (!layer->home)
                return name;
        char *path = xprintf("%s/%s", layer->home, name);
        free(name);
        return path;
}

struct layer *layer_new(const char *name, bool is_fixup)
{
        struct layer *layer = xcalloc(1, sizeof(*layer));
        layer->name = xstrdup(name);
        layer->is_fixup = is_fixup;
        return layer;
}

void layer_free(struct layer *layer)
{
        if (!layer)
                return;
        free(layer->name);
        free(layer);
}

char *layer_chain_id(struct layer *const *layers, size_t count)
{
        char *chain = xstrdup(layers[0]->name);
        for (size_t i = 1; i < count; i++) {
                char hex[SHA256_HEX + 1];
                AUTO_FREE char *both = xprintf("%s %s", chain, layers[i]->name);
                sha256_hex(both, strlen(both), hex);
                free(chain);
                chain = xprintf("sha256:%s", hex);
        }
        return chain;
}

/* Opens a folder of the tree, or gives a negative errno. */
static int open_folder(int directory_fd, const char *path)
{
        struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                           RESOLVE_NO_XDEV,
        };
        int fd;
        do
                fd = (int)syscall(SYS_openat2, directory_fd, path, &how, sizeof(how));
        while (fd < 0 && (errno == EINTR || errno == EAGAIN));
        return fd < 0 ? -errno : fd;
}

int layer_mark_opaque(int directory_fd, const char *const *paths, size_t count, struct error *err)
{
        for (size_t i = 0; i < count; i++) {
                AUTO_FD int fd = open_folder(directory_fd, paths[i]);
                if (fd < 0)
                        return error_errno(err, fd, "open folder %.200s", paths[i]);
                if (fsetxattr(fd, OPAQUE, "y", 1, 0) < 0)
                        return error_errno(err, errno, "mark folder %.200s opaque", paths[i]);
        }
        return 0;
}

const char *layer_first_unmarked(int directory_fd, const char *const *paths, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                char mark = '\0';
                AUTO_FD int fd = open_folder(directory_fd, paths[i]);
                if (fd < 0 || fgetxattr(fd, OPAQUE, &mark, 1) != 1 || mark != 'y')
                        return paths[i];
        }
        return NULL;
}

int layer_link(int store_fd, const struct layer *layer, struct error *err)
{
        char link[sizeof("l/") + 10];
        char there[PATH_MAX];
        AUTO_FREE char *path = layer_path(layer);
        AUTO_FREE char *target = xprintf(layer->home ? "%s" : "../%s", path);
        snprintf(link, sizeof(link), "l/%u", layer->number);

        ssize_t length = readlinkat(store_fd, link, there, sizeof(there));
        if (length >= 0 && (size_t)length == strlen(target) &&
            memcmp(there, target, (size_t)length) == 0)
                return 0;
        if (unlinkat(store_fd, link, 0) < 0 && errno != ENOENT)
                return error_errno(err, errno, "remove short name %s", link);
        if (symlinkat(target, store_fd, link) < 0)
                return error_errno(err, errno, "make short name %s", link);
        return 0;
}

int layer_place(int source_fd, const char *source, int store_fd, const char *target,
                struct error *err)
{
        if (renameat2(source_fd, source, store_fd, target, RENAME_NOREPLACE) == 0)
                return 0;
        /* Left by a crash: no record names it, so it gives way. It is removed with what held the
         * source. */
        if (errno == EEXIST && renameat2(source_fd, source, store_fd, target, RENAME_EXCHANGE) == 0)
                return 0;
        return error_errno(err, errno, "move %s into place", target);
}

/* Whether each part of the path is a name, so that walking it part by part leads down only. */
static bool path_is_plain(const char *path)
{
        if (strlen(path) >= PATH_MAX)
                return false;
        for (const char *part = path;; part++) {
                size_t length = strcspn(part, "/");
                if (length == 0 || length > NAME_MAX || (length == 1 && part[0] == '.') ||
                    (length == 2 && part[0] == '.' && part[1] == '.'))
                        return false;
                part += length;
                if (!*part)
                        return true;
        }
}

static int refuse_path(const char *path, struct error *err)
{
        return error_set(err, ERROR_FAILED_PRECONDITION, "path \"%.200s\" is not inside the layer",
                         path);
}

int layer_encode_notes(const struct fetch_layer *layer, struct buffer *notes, struct error *err)
{
        for (size_t i = 0; i < layer->implied_count; i++) {
                const char *path = layer->implied[i];
                if (strcmp(path, ".") != 0 && !path_is_plain(path))
                        return refuse_path(path, err);
                buffer_add(notes, "i", 1);
                buffer_add(notes, path, strlen(path) + 1);
        }
        for (size_t i = 0; i < layer->link_count; i++) {
                const struct fetch_link *link = &layer->links[i];
                if (!path_is_plain(link->path))
                        return refuse_path(link->path, err);
                buffer_add(notes, "l", 1);
                buffer_add(notes, link->path, strlen(link->path) + 1);
                buffer_add(notes, link->target, strlen(link->target) + 1);
        }
        return 0;
}
