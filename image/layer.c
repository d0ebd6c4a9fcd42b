#include "image/layer.h"

#include <fcntl.h>
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

const char *layer_hex(const char *digest)
{
        const char *colon = strchr(digest, ':');
        return colon ? colon + 1 : digest;
}

char *layer_path(const struct layer *layer)
{
        return xprintf("%s/%s", layer->is_fixup ? "fixups" : "layers", layer_hex(layer->name));
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

int layer_mark_opaque(int directory_fd, const char *const *paths, size_t count, struct error *err)
{
        struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                           RESOLVE_NO_XDEV,
        };
        for (size_t i = 0; i < count; i++) {
                AUTO_FD int fd = -1;
                do
                        fd = (int)syscall(SYS_openat2, directory_fd, paths[i], &how, sizeof(how));
                while (fd < 0 && (errno == EINTR || errno == EAGAIN));
                if (fd < 0)
                        return error_errno(err, errno, "open folder %.200s", paths[i]);
                if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
                        return error_errno(err, errno, "mark folder %.200s opaque", paths[i]);
        }
        return 0;
}

int layer_link(int store_fd, const struct layer *layer, struct error *err)
{
        char link[sizeof("l/") + 10];
        char there[sizeof("../layers/") + REFERENCE_DIGEST_MAX];
        AUTO_FREE char *path = layer_path(layer);
        AUTO_FREE char *target = xprintf("../%s", path);
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

void layer_encode_notes(const struct fetch_layer *layer, struct buffer *notes)
{
        for (size_t i = 0; i < layer->implied_count; i++) {
                buffer_add(notes, "i", 1);
                buffer_add(notes, layer->implied[i], strlen(layer->implied[i]) + 1);
        }
        for (size_t i = 0; i < layer->link_count; i++) {
                buffer_add(notes, "l", 1);
                buffer_add(notes, layer->links[i].path, strlen(layer->links[i].path) + 1);
                buffer_add(notes, layer->links[i].target, strlen(layer->links[i].target) + 1);
        }
}
