/* Images and layers on their way out. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/record.h"
#include "image/store_private.h"

/* ---- records ---- */

struct record_job {
        char *path;
        const char *text; /* null: the record is removed */
        struct error *err;
};

static int record_work(void *argument)
{
        struct record_job *job = argument;
        if (job->text)
                return file_replace(job->path, job->text, strlen(job->text), 0600, job->err);
        if (unlink(job->path) < 0 && errno != ENOENT)
                return error_errno(job->err, errno, "remove %s", job->path);
        return file_sync_parent(job->path, job->err);
}

static int change_record(struct store *store, const char *id, const char *text, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/records/%s.json", store->directory, layer_hex(id));
        struct record_job job = {.path = path, .text = text, .err = err};
        return task_offload(record_work, &job);
}

int store_write_record(struct store *store, struct image *image, struct error *err)
{
        assert(!image->home);
        image->generation = ++store->generation;
        AUTO_FREE char *text = record_encode(image);
        AUTO_FREE char *id = xstrdup(image->id);
        return change_record(store, id, text, err);
}

/* ---- trees and files ---- */

struct collect_job {
        int fd;
        char stage[17];
        char **trees; /* moved into the stage, and so out of the way of a layer that comes again */
        char **files; /* removed */
        struct error *err;
};

int store_move_away(int fd, const char *tree, const char *stage, unsigned number, struct error *err)
{
        AUTO_FREE char *away = xprintf("staging/%s/%u", stage, number);
        if (renameat(fd, tree, fd, away) == 0)
                return 0;
        AUTO_FREE char *path = xprintf("/proc/self/fd/%d/%s", fd, tree);
        return file_remove_tree(path, err);
}

static int collect_work(void *argument)
{
        struct collect_job *job = argument;
        /* On a full disk there is no room for it, and room is what is wanted. */
        store_make_stage(job->fd, job->stage, NULL);
        int result = 0;
        unsigned number = 0;
        for (char **tree = job->trees; tree && *tree; tree++) {
                int r = store_move_away(job->fd, *tree, job->stage, number++, job->err);
                if (r < 0)
                        result = r;
        }
        for (char **file = job->files; file && *file; file++)
                if (unlinkat(job->fd, *file, 0) < 0 && errno != ENOENT)
                        result = error_errno(job->err, errno, "remove %s", *file);
        return result;
}

static void add_path(char ***paths, char *path)
{
        strv_push(paths, path);
        free(path);
}

static void add_layer_paths(struct collect_job *job, const struct layer *layer)
{
        assert(!layer->home); /* lent layers are always referred to: nothing there is removed */
        add_path(&job->trees, layer_path(layer));
        add_path(&job->files, xprintf("l/%u", layer->number));
        if (!layer->is_fixup && !layer->is_artifact)
                add_path(&job->files, xprintf("tars/%s", layer_hex(layer->name)));
        if (layer->noted)
                add_path(&job->files, xprintf("notes/%s", layer_hex(layer->name)));
}

static struct layer **unused_layers(struct store *store, size_t *count)
{
        struct layer **layers = xcalloc(table_size(store->numbers) + 1, sizeof(*layers));
        struct layer *layer;
        size_t cursor = 0, found = 0;
        while ((layer = table_next(store->numbers, &cursor, NULL)))
                if (layer->refs == 0)
                        layers[found++] = layer;
        *count = found;
        return layers;
}

void store_collect(struct store *store, const char *id, const char *manifest_digest, char **trash)
{
        struct error err;
        struct collect_job job = {.fd = store->fd, .err = &err};
        size_t count;
        AUTO_FREE struct layer **layers = unused_layers(store, &count);
        for (size_t i = 0; i < count; i++)
                add_layer_paths(&job, layers[i]);
        if (id)
                add_path(&job.files, xprintf("configs/%s", layer_hex(id)));
        if (manifest_digest) {
                add_path(&job.files, xprintf("manifests/%s", layer_hex(manifest_digest)));
                add_path(&job.files, xprintf("signatures/%s", layer_hex(manifest_digest)));
        }
        *trash = NULL;
        if (!job.trees && !job.files)
                return;

        id_random_hex(job.stage, sizeof(job.stage) - 1);
        table_put(store->stages, job.stage, store);
        if (task_offload(collect_work, &job) < 0) {
                log_failure(&err, "image store could not be cleaned: it is tried again later",
                            NULL);
                store_clean_soon(store);
        }
        for (size_t i = 0; i < count; i++)
                store_drop_layer(store, layers[i]);
        *trash = xprintf("%s/staging/%s", store->directory, job.stage);
        strv_free(job.trees);
        strv_free(job.files);
}

static void collect_task(void *argument)
{
        struct store *store = argument;
        char *trash;
        task_lock(&store->lock, CLOCK_NEVER);
        store->collecting = false;
        store_collect(store, NULL, NULL, &trash);
        task_unlock(&store->lock);
        store_unstage(store, trash);
}

void store_collect_later(struct store *store)
{
        if (store->collecting)
                return;
        store->collecting = true;
        task_start("collect layers", collect_task, store);
}

/* ---- images ---- */

/* The lock is held. What is to be removed afterwards is in *trash. */
static int destroy(struct store *store, struct image *image, char **trash, struct error *err)
{
        int result = change_record(store, image->id, NULL, err);
        if (result < 0)
                return result;
        /* A container came while the record went: write it again, for the image stays. */
        if (table_size(image->users) > 0)
                return store_write_record(store, image, err);

        AUTO_FREE char *id = xstrdup(image->id);
        AUTO_FREE char *manifest = xstrdup(image->manifest_digest);
        store_drop_image(store, image);
        store_collect(store, id, manifest, trash);
        return 0;
}

int store_destroy(struct store *store, const char *id, struct error *err)
{
        AUTO_FREE char *copy = xstrdup(id);
        char *trash = NULL;
        int result = 0;
        task_lock(&store->lock, CLOCK_NEVER);
        struct image *image = store_image(store, copy);
        /* It may have been pulled again meanwhile, or taken into use. */
        if (image && image->removed && table_size(image->users) == 0)
                result = destroy(store, image, &trash, err);
        task_unlock(&store->lock);
        store_unstage(store, trash);
        return result;
}

/* Leaves only what containers need: the image without its names. */
static int hide(struct store *store, struct image *image, struct error *err)
{
        image->removed = true;
        int result = store_write_record(store, image, err);
        if (result < 0) {
                image->removed = false;
                return result;
        }
        store_withdraw_names(store, image);
        strv_free(take_ptr(image->tags));
        strv_free(take_ptr(image->digests));
        return 0;
}

int store_remove(struct store *store, const char *name, struct error *err)
{
        AUTO_FREE char *copy = xstrdup(name);
        AUTO_FREE char *id = NULL;
        char *trash = NULL;
        int result = 0;

        task_lock(&store->lock, CLOCK_NEVER);
        struct image *image = (struct image *)(uintptr_t)store_find(store, copy);
        if (image)
                result = store_refuse_lent(image, err);
        if (image && result == 0) {
                id = xstrdup(image->id);
                if (table_size(image->users) == 0) {
                        image->removed = true;
                        result = destroy(store, image, &trash, err);
                        image = store_image(store, id);
                        if (image)
                                image->removed = false;
                }
                if (image && result == 0)
                        result = hide(store, image, err);
        }
        task_unlock(&store->lock);
        store_unstage(store, trash);
        if (result < 0)
                return error_context(err, "remove image %.200s", copy);
        if (id)
                log_info("image is removed", "image", id, "name", copy, NULL);
        return 0;
}
