/* What is on its way into the store: folders to fill, and holds on what is there meanwhile. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/request.h"
#include "image/store_private.h"

#define STAGE_NAME_LENGTH 16
#define TREES_NOTED       128 /* as many as are remembered */

/* ---- staging ---- */

int store_make_stage(int fd, const char *name, struct error *err)
{
        AUTO_FREE char *path = xprintf("staging/%s", name);
        if (mkdirat(fd, path, 0700) < 0)
                return error_errno(err, errno, "make folder %s", path);
        return 0;
}

struct stage_job {
        int fd;
        struct spread *spread;
        const char *name, *path;
        struct error *err;
};

/* Whatever is made in the folder, ext4 puts near it. */
static int stage_work(void *argument)
{
        struct stage_job *job = argument;
        AUTO_FREE char *path = xprintf("staging/%s", job->name);
        return spread_make(job->spread, job->fd, path, job->err);
}

int store_stage(struct store *store, char **staging, struct error *err)
{
        char name[STAGE_NAME_LENGTH + 1];
        id_random_hex(name, STAGE_NAME_LENGTH);
        struct stage_job job = {.fd = store->fd, .spread = store->spread, .name = name, .err = err};
        table_put(store->stages, name, store);
        int result = task_offload(stage_work, &job);
        if (result < 0) {
                table_remove(store->stages, name);
                return error_context(err, "image store");
        }
        *staging = xprintf("%s/staging/%s", store->directory, name);
        return 0;
}

void store_keep_stage(struct store *store, const char *name)
{
        table_put(store->stages, name, store);
}

/* Layers that were moved into a staging folder lie elsewhere than it. What crisp-image filled may
 * have any number of entries: some are enough. */
static void note_trees(const struct stage_job *job)
{
        int fd = open(job->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        AUTO_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        struct stat st;

        if (!dir && fd >= 0)
                close(fd);
        for (unsigned i = 0; dir && i < TREES_NOTED && (entry = readdir(dir)); i++)
                if (strcmp(entry->d_name, "..") != 0 &&
                    fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISDIR(st.st_mode))
                        spread_note(job->spread, st.st_ino, clock_monotonic());
}

static int unstage_work(void *argument)
{
        struct stage_job *job = argument;
        note_trees(job);
        return file_remove_tree(job->path, job->err);
}

void store_unstage(struct store *store, char *staging)
{
        if (!staging)
                return;
        struct error err;
        struct stage_job job = {
                .fd = store->fd, .spread = store->spread, .path = staging, .err = &err};
        if (task_offload(unstage_work, &job) < 0) {
                log_failure(&err, "staging folder could not be removed", NULL);
                store_clean_soon(store);
        }
        table_remove(store->stages, strrchr(staging, '/') + 1);
        free(staging);
}

/* ---- holds ---- */

struct store_hold {
        struct store *store;
        struct layer **layers;
        const char **diff_ids;
        size_t count;
};

struct store_hold *store_hold_new(struct store *store)
{
        struct store_hold *hold = xcalloc(1, sizeof(*hold));
        size_t size = table_size(store->layers), cursor = 0;
        struct layer *layer;
        hold->store = store;
        hold->layers = xcalloc(size, sizeof(struct layer *));
        hold->diff_ids = xcalloc(size, sizeof(char *));
        while (hold->count < REQUEST_PRESENT_MAX &&
               (layer = table_next(store->layers, &cursor, NULL))) {
                /* Its tree may be on its way out, or not yet be in. */
                if (layer->refs == 0 || layer->placing)
                        continue;
                layer->refs++;
                hold->layers[hold->count] = layer;
                hold->diff_ids[hold->count++] = layer->name;
        }
        return hold;
}

struct store_hold *store_hold_layer(struct store *store, const char *diff_id)
{
        struct layer *layer = table_get(store->layers, diff_id);
        if (!layer || layer->refs == 0 || layer->placing)
                return NULL;
        struct store_hold *hold = xcalloc(1, sizeof(*hold));
        hold->store = store;
        hold->layers = xcalloc(1, sizeof(struct layer *));
        hold->diff_ids = xcalloc(1, sizeof(char *));
        layer->refs++;
        hold->layers[0] = layer;
        hold->diff_ids[hold->count++] = layer->name;
        return hold;
}

void store_hold_free(struct store_hold *hold)
{
        if (!hold)
                return;
        bool last = false;
        for (size_t i = 0; i < hold->count; i++)
                last |= --hold->layers[i]->refs == 0;
        if (last)
                store_collect_later(hold->store);
        free(hold->layers);
        free(hold->diff_ids);
        free(hold);
}

const char *const *store_hold_diff_ids(const struct store_hold *hold, size_t *count)
{
        *count = hold->count;
        return hold->diff_ids;
}
