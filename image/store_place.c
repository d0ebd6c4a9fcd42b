/* Layers that came, on their way into place: with their image, or before it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "image/store_private.h"

#define MANIFEST_BYTES_MAX (8u << 20)
#define SHA256_PREFIX      "sha256:"

bool store_name_is_plain(const char *name)
{
        return name[0] && name[0] != '.' && !strchr(name, '/') && strlen(name) <= NAME_MAX;
}

static bool implies_root(const struct fetch_layer *layer)
{
        for (size_t i = 0; i < layer->implied_count; i++)
                if (strcmp(layer->implied[i], ".") == 0)
                        return true;
        return false;
}

struct layer *store_new_layer(struct store *store, const struct fetch_layer *source,
                              bool is_artifact)
{
        struct layer *layer = layer_new(source->diff_id, false);
        layer->is_artifact = is_artifact;
        layer->bytes = (uint64_t)source->unpacked;
        layer->inodes = (uint64_t)source->entries + 1;
        layer->bare_root = implies_root(source);
        layer->noted = source->link_count > 0 || source->implied_count > layer->bare_root;
        layer->placing = true;
        store_add_layer(store, layer);
        return layer;
}

/* ---- blocking ---- */

static int place_notes(struct store *store, const char *staging, int staging_fd,
                       const struct fetch_layer *source, const struct layer *layer,
                       struct error *err)
{
        AUTO_FREE char *target = xprintf("notes/%s", layer_hex(layer->name));
        if (!layer->noted) {
                /* Those of a layer that a crash kept from getting its record. */
                unlinkat(store->fd, target, 0);
                return 0;
        }
        AUTO_BUFFER struct buffer notes = BUFFER_INIT;
        AUTO_FREE char *staged = xprintf("%s/notes", staging);
        int result = layer_encode_notes(source, &notes, err);
        if (result == 0)
                result = file_replace(staged, notes.data, notes.length, 0600, err);
        if (result < 0)
                return result;
        return layer_place(staging_fd, "notes", store->fd, target, err);
}

/* By what the layer's tar stream can be made again: not every layer has it. */
static int place_tar(struct store *store, int staging_fd, const struct fetch_layer *source,
                     const struct layer *layer, struct error *err)
{
        AUTO_FREE char *staged = xprintf("tars/%s", source->directory);
        AUTO_FREE char *target = xprintf("tars/%s", layer_hex(layer->name));
        struct stat st;

        if (fstatat(staging_fd, staged, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
                return layer_place(staging_fd, staged, store->fd, target, err);
        unlinkat(store->fd, target, 0);
        return 0;
}

int store_place_layer(struct store *store, const char *staging, int staging_fd,
                      const struct fetch_layer *source, const struct layer *layer,
                      struct error *err)
{
        AUTO_FREE char *staged = xprintf("layers/%s", source->directory);
        AUTO_FREE char *target = layer_path(layer);
        AUTO_FD int fd =
                openat(staging_fd, staged, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_set(err, ERROR_INTERNAL, "crisp-image's result: %.200s: %s", staged,
                                 strerror(errno));
        int result = layer_mark_opaque(fd, source->opaque, source->opaque_count, err);
        /* A layer may have an artifact's digest: what is its own stays as it is. */
        if (result == 0 && !layer->is_artifact)
                result = place_notes(store, staging, staging_fd, source, layer, err);
        if (result == 0 && !layer->is_artifact)
                result = place_tar(store, staging_fd, source, layer, err);
        if (result == 0)
                result = layer_place(staging_fd, staged, store->fd, target, err);
        if (result == 0)
                result = layer_link(store->fd, layer, err);
        return result < 0 ? error_context(err, "layer %s", layer->name) : 0;
}

static int read_staged(int staging_fd, const char *name, size_t max, struct buffer *contents,
                       struct error *err)
{
        int r = file_read_plain(staging_fd, name, max, contents, err);
        return r < 0 ? error_set(err, ERROR_INTERNAL, "crisp-image's result: %s", err->message) : 0;
}

/* SHA-512 is crisp-image's alone: the daemon does without libcrypto. */
static int check_digest(const struct buffer *bytes, const char *name, const char *digest,
                        struct error *err)
{
        char hex[SHA256_HEX + 1];
        if (strncmp(digest, SHA256_PREFIX, strlen(SHA256_PREFIX)) != 0)
                return 0;
        sha256_hex(bytes->data, bytes->length, hex);
        if (strcmp(hex, digest + strlen(SHA256_PREFIX)) == 0)
                return 0;
        return error_set(err, ERROR_INTERNAL,
                         "crisp-image's result: %s has the digest sha256:%s and not %.200s, as it "
                         "says: nothing is stored; pull the image again",
                         name, hex, digest);
}

int store_check_documents(int staging_fd, const struct fetch_result *result, struct buffer *config,
                          struct error *err)
{
        AUTO_BUFFER struct buffer manifest = BUFFER_INIT;
        int r;

        if ((r = read_staged(staging_fd, "config.json", IMAGE_CONFIG_BYTES_MAX, config, err)) < 0 ||
            (r = check_digest(config, "config.json", result->config_digest, err)) < 0 ||
            (r = read_staged(staging_fd, "manifest.json", MANIFEST_BYTES_MAX, &manifest, err)) < 0)
                return r;
        r = check_digest(&manifest, "manifest.json", result->manifest_digest, err);
        if (r < 0 || strcmp(result->repo_digest, result->manifest_digest) == 0)
                return r;

        /* The name stands for an index, then. */
        AUTO_BUFFER struct buffer index = BUFFER_INIT;
        r = read_staged(staging_fd, "index.json", MANIFEST_BYTES_MAX, &index, err);
        return r < 0 ? r : check_digest(&index, "index.json", result->repo_digest, err);
}

int store_sync_folder(int store_fd, const char *folder, struct error *err)
{
        AUTO_FD int fd = openat(store_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return error_errno(err, errno, "sync %s", folder);
        return 0;
}
