/* Layers that are exchanged for whole ones, in place. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/id.h"
#include "base/memory.h"
#include "image/store_private.h"

#define SUFFIX_LENGTH 8

struct repair {
        struct store *store;
        const char *id, *staging;
        const struct fetch_result *result;
        bool *keep; /* for each layer: a container has its old tree mounted */
        struct error *err;
};

/* ---- on a worker ---- */

/* What of a layer is beside its tree, as a commit places it. */
static int replace_files(struct repair *repair, int staging_fd, const struct fetch_layer *source)
{
        const char *hex = layer_hex(source->diff_id);
        int store_fd = repair->store->fd;
        AUTO_BUFFER struct buffer notes = BUFFER_INIT;
        AUTO_FREE char *tar = xprintf("tars/%s", source->directory);
        AUTO_FREE char *tar_target = xprintf("tars/%s", hex);
        AUTO_FREE char *notes_target = xprintf("notes/%s", hex);
        AUTO_FREE char *staged = xprintf("%s/notes", repair->staging);
        struct stat st;
        int r = 0;

        if (fstatat(store_fd, notes_target, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                r = layer_encode_notes(source, &notes, repair->err);
                if (r == 0)
                        r = file_replace(staged, notes.data ? notes.data : "", notes.length, 0600,
                                         repair->err);
                if (r == 0)
                        r = layer_place(staging_fd, "notes", store_fd, notes_target, repair->err);
        }
        if (r == 0 && fstatat(staging_fd, tar, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode))
                r = layer_place(staging_fd, tar, store_fd, tar_target, repair->err);
        return r;
}

static int replace_tree(struct repair *repair, int staging_fd, const struct fetch_layer *source,
                        bool keep)
{
        char suffix[SUFFIX_LENGTH + 1];
        const char *hex = layer_hex(source->diff_id);
        AUTO_FREE char *staged = xprintf("layers/%s", source->directory);
        AUTO_FREE char *target = xprintf("layers/%s", hex);
        AUTO_FD int fd =
                openat(staging_fd, staged, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return error_errno(repair->err, errno, "crisp-image's result: %.200s", staged);
        int r = layer_mark_opaque(fd, source->opaque, source->opaque_count, repair->err);
        if (r == 0 && source->opaque_count > 0 && syncfs(fd) < 0)
                r = error_errno(repair->err, errno, "sync the image store");
        if (r == 0)
                r = replace_files(repair, staging_fd, source);
        if (r == 0)
                r = layer_place(staging_fd, staged, repair->store->fd, target, repair->err);
        if (r < 0 || !keep)
                return r;
        /* What is now where the new one was still shows through in a container. */
        id_random_hex(suffix, SUFFIX_LENGTH);
        AUTO_FREE char *aside = xprintf("replaced/%s.%s", hex, suffix);
        if (renameat(staging_fd, staged, repair->store->fd, aside) < 0 && errno != ENOENT)
                return error_errno(repair->err, errno, "set the old tree aside");
        return 0;
}

static int sync_folders(struct repair *repair)
{
        static const char *const FOLDERS[] = {"notes",     "tars",    "layers",
                                              "manifests", "configs", "replaced"};

        for (size_t i = 0; i < sizeof(FOLDERS) / sizeof(FOLDERS[0]); i++) {
                AUTO_FD int fd =
                        openat(repair->store->fd, FOLDERS[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0 || fsync(fd) < 0)
                        return error_errno(repair->err, errno, "sync %s", FOLDERS[i]);
        }
        return 0;
}

static int repair_work(void *argument)
{
        struct repair *repair = argument;
        const struct fetch_result *result = repair->result;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_FREE char *config = xprintf("configs/%s", layer_hex(repair->id));
        AUTO_FREE char *manifest = xprintf("manifests/%s", layer_hex(result->manifest_digest));
        AUTO_FD int fd = open(repair->staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int store_fd = repair->store->fd, r = 0;

        if (fd < 0)
                return error_errno(repair->err, errno, "open %s", repair->staging);
        r = store_check_documents(fd, result, &text, repair->err);
        for (size_t i = 0; r == 0 && i < result->layer_count; i++) {
                const struct fetch_layer *source = &result->layers[i];
                if (!source->directory)
                        continue;
                r = replace_tree(repair, fd, source, repair->keep[i]);
                if (r < 0)
                        error_context(repair->err, "layer %s", source->diff_id);
        }
        if (r == 0)
                r = layer_place(fd, "config.json", store_fd, config, repair->err);
        if (r == 0)
                r = layer_place(fd, "manifest.json", store_fd, manifest, repair->err);
        return r < 0 ? r : sync_folders(repair);
}

/* ---- on the loop's thread ---- */

static bool is_plain(const char *name)
{
        return name[0] && name[0] != '.' && !strchr(name, '/');
}

static bool has_layer(const struct image *image, const char *diff_id)
{
        for (size_t i = 0; i < image->layer_count; i++)
                if (strcmp(image->layers[i]->name, diff_id) == 0)
                        return true;
        return false;
}

/* Users that only read it for a while (offline.c) have nothing mounted. */
static bool has_containers(const struct image *image)
{
        const char *user;
        size_t cursor = 0;

        while (table_next(image->users, &cursor, &user))
                if (strncmp(user, STORE_READER, strlen(STORE_READER)) != 0)
                        return true;
        return false;
}

bool store_layer_is_mounted(const struct store *store, const char *diff_id)
{
        const struct image *image;
        size_t cursor = 0;

        while ((image = table_next(store->images, &cursor, NULL)))
                if (has_containers(image) && has_layer(image, diff_id))
                        return true;
        return false;
}

static int check(struct repair *repair)
{
        const struct fetch_result *result = repair->result;
        const struct image *image = store_image(repair->store, repair->id);

        if (!image)
                return error_set(repair->err, ERROR_NOT_FOUND, "image %.100s: not found",
                                 repair->id);
        int r = store_refuse_lent(image, repair->err);
        if (r < 0)
                return r;
        if (strcmp(result->config_digest, repair->id) != 0 ||
            strcmp(result->manifest_digest, image->manifest_digest) != 0)
                return error_set(repair->err, ERROR_FAILED_PRECONDITION,
                                 "what the registry has there now is another image (%.100s)",
                                 result->config_digest);
        for (size_t i = 0; i < result->layer_count; i++) {
                const struct fetch_layer *layer = &result->layers[i];
                if (layer->directory &&
                    (!is_plain(layer->directory) || !has_layer(image, layer->diff_id)))
                        return error_set(repair->err, ERROR_INTERNAL,
                                         "crisp-image's result: a layer of another image");
                const struct layer *known = table_get(repair->store->layers, layer->diff_id);
                if (layer->directory && known && known->home)
                        return error_set(repair->err, ERROR_FAILED_PRECONDITION,
                                         "layer %s lies in the additional store %s, which is only "
                                         "read: repair it there",
                                         layer->diff_id, known->home);
                repair->keep[i] =
                        layer->directory && store_layer_is_mounted(repair->store, layer->diff_id);
        }
        return 0;
}

int store_repair(struct store *store, const char *id, const char *staging,
                 const struct fetch_result *result, struct error *err)
{
        AUTO_FREE bool *keep = xcalloc(result->layer_count + 1, sizeof(*keep));
        struct repair repair = {.store = store,
                                .id = id,
                                .staging = staging,
                                .result = result,
                                .keep = keep,
                                .err = err};

        task_lock(&store->lock, CLOCK_NEVER);
        int r = check(&repair);
        if (r == 0)
                r = task_offload(repair_work, &repair);
        task_unlock(&store->lock);
        return r < 0 ? error_context(err, "repair image") : 0;
}
