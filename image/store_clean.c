/* Garbage: what no record names. It goes at the start and from time to time. */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/store_private.h"

struct clean_job {
        struct store *store;
        char **names[STORE_FOLDERS]; /* what is in each folder, then what of it is garbage */
        char stage[17];
        bool failed; /* something could not be removed */
        struct error *err;
};

static int list_work(void *argument)
{
        struct clean_job *job = argument;
        int result = 0;
        for (size_t i = 0; result == 0 && i < STORE_FOLDERS; i++)
                result = store_list_folder(job->store->fd, store_folders[i], &job->names[i],
                                           job->err);
        return result;
}

/* Digests that are named by images, so that the files of all others are garbage. */
static void note_wanted(struct table *wanted, const char *folder, const char *name,
                        const char *suffix)
{
        AUTO_FREE char *path = xprintf("%s/%s%s", folder, name, suffix);
        table_put(wanted, path, wanted);
}

static struct table *wanted_paths(struct store *store)
{
        struct table *wanted = table_new();
        const struct image *image;
        const struct layer *layer;
        const char *name;
        size_t cursor = 0;
        while ((image = table_next(store->images, &cursor, NULL))) {
                note_wanted(wanted, "records", layer_hex(image->id), STORE_RECORD_SUFFIX);
                note_wanted(wanted, "configs", layer_hex(image->id), "");
                note_wanted(wanted, "manifests", layer_hex(image->manifest_digest), "");
                note_wanted(wanted, "signatures", layer_hex(image->manifest_digest), "");
        }
        cursor = 0;
        while ((layer = table_next(store->numbers, &cursor, &name))) {
                const char *hex = layer_hex(layer->name);
                note_wanted(wanted, "l", name, "");
                AUTO_FREE char *path = layer_path(layer);
                table_put(wanted, path, wanted);
                if (!layer->is_fixup && !layer->is_artifact)
                        note_wanted(wanted, "tars", hex, "");
                if (layer->noted)
                        note_wanted(wanted, "notes", hex, "");
        }
        cursor = 0;
        while (table_next(store->stages, &cursor, &name))
                note_wanted(wanted, "staging", name, "");
        return wanted;
}

/* A tree that was set aside is "HEX.SUFFIX"; while its layer is mounted it stays. */
static bool is_mounted(const struct store *store, const char *name)
{
        int length = (int)strcspn(name, ".");
        AUTO_FREE char *narrow = xprintf("sha256:%.*s", length, name);
        AUTO_FREE char *wide = xprintf("sha512:%.*s", length, name);
        return store->doubtful || store_layer_is_mounted(store, narrow) ||
               store_layer_is_mounted(store, wide);
}

/* Leaves only the garbage in each list. */
static void keep_garbage(struct clean_job *job)
{
        struct table *wanted = wanted_paths(job->store);
        for (size_t i = 0; i < STORE_FOLDERS; i++) {
                char **garbage = NULL;
                bool kept = strcmp(store_folders[i], "aside") == 0 ||
                            strcmp(store_folders[i], "empty") == 0;
                /* A container that runs on an image whose record was lost still has these mounted.
                 */
                if (job->store->doubtful && (strcmp(store_folders[i], "layers") == 0 ||
                                             strcmp(store_folders[i], "fixups") == 0 ||
                                             strcmp(store_folders[i], "artifacts") == 0))
                        kept = true;
                bool replaced = strcmp(store_folders[i], "replaced") == 0;
                for (char **name = job->names[i]; !kept && name && *name; name++) {
                        if (replaced && is_mounted(job->store, *name))
                                continue;
                        AUTO_FREE char *path = xprintf("%s/%s", store_folders[i], *name);
                        if (!table_get(wanted, path))
                                strv_push(&garbage, *name);
                }
                strv_free(job->names[i]);
                job->names[i] = garbage;
        }
        table_free(wanted);
}

static void clean_entry(struct clean_job *job, const char *folder, const char *name,
                        unsigned number)
{
        int fd = job->store->fd;
        AUTO_FREE char *path = xprintf("%s/%s", folder, name);
        struct error err;
        if (unlinkat(fd, path, 0) == 0 || errno == ENOENT)
                return;
        if (store_move_away(fd, path, job->stage, number, &err) < 0) {
                log_failure(&err, "left-over could not be removed", "path", path, NULL);
                job->failed = true;
        }
}

static int clean_work(void *argument)
{
        struct clean_job *job = argument;
        unsigned number = 0;
        /* On a full disk there is no room for it: then all is removed where it is. */
        store_make_stage(job->store->fd, job->stage, NULL);
        for (size_t i = 0; i < STORE_FOLDERS; i++)
                for (char **name = job->names[i]; name && *name; name++)
                        clean_entry(job, store_folders[i], *name, number++);
        return 0;
}

static void destroy_removed(struct store *store)
{
        char **ids = NULL;
        const struct image *image;
        size_t cursor = 0;
        while ((image = table_next(store->images, &cursor, NULL)))
                if (image->removed && table_size(image->users) == 0)
                        strv_push(&ids, image->id);
        for (char **id = ids; id && *id; id++) {
                struct error err;
                if (store_destroy(store, *id, &err) < 0) {
                        log_failure(&err, "image could not be removed", "image", *id, NULL);
                        store_clean_soon(store);
                }
        }
        strv_free(ids);
}

void store_clean(struct store *store)
{
        struct error err;
        struct clean_job job = {.store = store, .err = &err};
        char *trash = NULL;

        store->cleaned = true;
        destroy_removed(store);
        task_lock(&store->lock, CLOCK_NEVER);
        int result = task_offload(list_work, &job);
        if (result == 0) {
                keep_garbage(&job);
                id_random_hex(job.stage, sizeof(job.stage) - 1);
                table_put(store->stages, job.stage, store);
                trash = xprintf("%s/staging/%s", store->directory, job.stage);
                result = task_offload(clean_work, &job);
        }
        if (result < 0)
                log_failure(&err, "image store could not be cleaned", NULL);
        if (result < 0 || job.failed)
                store_clean_soon(store);
        for (size_t i = 0; i < STORE_FOLDERS; i++)
                strv_free(job.names[i]);
        task_unlock(&store->lock);
        store_unstage(store, trash);
}

/* ---- again and again ---- */

static void on_clean_time(void *argument);

static void clean_at(struct store *store, int64_t delay)
{
        timer_free(store->clean_timer);
        store->clean_timer = timer_new(clock_after(delay), on_clean_time, store);
}

static void clean_task(void *argument)
{
        struct store *store = argument;
        store->left_over = false;
        store_clean(store);
        clean_at(store, store->left_over ? store->clean_retry : store->clean_period);
}

static void on_clean_time(void *argument)
{
        struct store *store = argument;
        timer_free(store->clean_timer);
        store->clean_timer = NULL;
        task_start("clean image store", clean_task, store);
}

void store_clean_soon(struct store *store)
{
        /* Without a timer the look is under way, and sees to the next one. */
        if (store->clean_timer && !store->left_over)
                clean_at(store, store->clean_retry);
        store->left_over = true;
}

void store_keep_clean(struct store *store, int64_t period, int64_t retry)
{
        store->clean_period = period;
        store->clean_retry = retry;
        task_start("clean image store", clean_task, store);
}
