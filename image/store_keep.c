#include "image/store_keep.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/store_private.h"

#define DESCRIPTION_SUFFIX ".json"

/* What is held for a while. */
struct store_kept {
        struct store *store;
        struct store_kept *next;
        struct timer *timer;
        struct layer **layers; /* each with a reference of ours */
        size_t count;
};

struct keep {
        struct store *store;
        const char *staging;
        const char *only; /* or null */
        struct arena *arena;
        struct fetch_layer found[STORE_LAYERS_MAX];
        size_t found_count;
        size_t bytes; /* of descriptions */
        struct layer *layers[STORE_LAYERS_MAX];
        const struct fetch_layer *sources[STORE_LAYERS_MAX]; /* null: it is here already */
        size_t count;
        struct error *err;
};

/* ---- blocking ---- */

static int open_folder(int at, const char *name)
{
        return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A description that is none, or too much, is passed over: the layer comes again. */
static bool read_description(struct keep *keep, int folder, const char *name)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        struct fetch_reply reply;

        if (file_read_plain(folder, name, REPLY_LINE_MAX - keep->bytes, &text, NULL) < 0)
                return false;
        keep->bytes += text.length;
        if (reply_decode(text.data, text.length, keep->arena, &reply, NULL) < 0 ||
            reply.kind != FETCH_LAYER || !store_name_is_plain(reply.layer.directory) ||
            (keep->only && strcmp(keep->only, reply.layer.diff_id) != 0))
                return false;
        keep->found[keep->found_count++] = reply.layer;
        return true;
}

static int read_work(void *argument)
{
        struct keep *keep = argument;
        AUTO_FREE char *path = xprintf("%s/layers", keep->staging);
        int fd = open_folder(AT_FDCWD, path);
        DIR *folder = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        if (!folder) {
                cleanup_fd(&fd);
                return 0; /* it did not come to layers */
        }
        while (keep->found_count < STORE_LAYERS_MAX && (entry = readdir(folder))) {
                size_t length = strlen(entry->d_name), suffix = strlen(DESCRIPTION_SUFFIX);
                if (length <= suffix ||
                    strcmp(entry->d_name + length - suffix, DESCRIPTION_SUFFIX) != 0)
                        continue;
                if (read_description(keep, dirfd(folder), entry->d_name) && keep->only)
                        break;
        }
        closedir(folder);
        return 0;
}

/* One sync for all of them. The second one makes sure of their names and marks. */
static int place_work(void *argument)
{
        struct keep *keep = argument;
        AUTO_FD int fd = open_folder(AT_FDCWD, keep->staging);
        bool spread = false;
        int r = 0;

        if (fd < 0 || syncfs(fd) < 0)
                return error_errno(keep->err, errno, "sync the image store");
        for (size_t i = 0; r == 0 && i < keep->count; i++) {
                if (!keep->sources[i])
                        continue;
                spread |= keep->sources[i]->opaque_count > 0;
                r = store_place_layer(keep->store, keep->staging, fd, keep->sources[i],
                                      keep->layers[i], keep->err);
        }
        if (r == 0 && spread && syncfs(keep->store->fd) < 0)
                r = error_errno(keep->err, errno, "sync the image store");
        static const char *const folders[] = {"notes", "tars", "layers"};
        for (size_t i = 0; r == 0 && !spread && i < sizeof(folders) / sizeof(folders[0]); i++)
                r = store_sync_folder(keep->store->fd, folders[i], keep->err);
        return r;
}

/* ---- on the loop's thread ---- */

static void free_kept(struct store_kept *kept)
{
        for (struct store_kept **slot = &kept->store->kept; *slot; slot = &(*slot)->next)
                if (*slot == kept) {
                        *slot = kept->next;
                        break;
                }
        timer_free(kept->timer);
        free(kept->layers);
        free(kept);
}

static void on_time(void *argument)
{
        struct store_kept *kept = argument;
        struct store *store = kept->store;
        bool last = false;
        for (size_t i = 0; i < kept->count; i++)
                last |= --kept->layers[i]->refs == 0;
        free_kept(kept);
        if (last)
                store_collect_later(store);
}

void store_forget_kept(struct store *store)
{
        while (store->kept)
                free_kept(store->kept);
}

/* Takes over the references. */
static void hold(struct keep *keep)
{
        struct store_kept *kept = xcalloc(1, sizeof(*kept));
        kept->store = keep->store;
        kept->layers = xcalloc(keep->count, sizeof(struct layer *));
        memcpy(kept->layers, keep->layers, keep->count * sizeof(struct layer *));
        kept->count = keep->count;
        kept->timer = timer_new(clock_after(STORE_KEEP_TIME), on_time, kept);
        kept->next = keep->store->kept;
        keep->store->kept = kept;
}

static bool collect(struct keep *keep)
{
        bool fresh = false;
        for (size_t i = 0; i < keep->found_count; i++) {
                const struct fetch_layer *source = &keep->found[i];
                struct layer *layer = table_get(keep->store->layers, source->diff_id);
                keep->sources[keep->count] = layer ? NULL : source;
                fresh |= !layer || layer->refs == 0;
                if (!layer)
                        layer = store_new_layer(keep->store, source, false);
                layer->refs++;
                keep->layers[keep->count++] = layer;
        }
        return fresh;
}

static int keep_locked(struct keep *keep, char **trash)
{
        int r = task_offload(read_work, keep);
        bool fresh = r == 0 && collect(keep);
        if (fresh)
                r = task_offload(place_work, keep);
        for (size_t i = 0; i < keep->count; i++)
                keep->layers[i]->placing = false;
        if (r == 0 && fresh) {
                hold(keep);
                return 0;
        }
        for (size_t i = 0; i < keep->count; i++)
                keep->layers[i]->refs--;
        if (fresh)
                store_collect(keep->store, NULL, NULL, trash);
        return r;
}

int store_keep(struct store *store, const char *staging, const char *only, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct keep *keep = xcalloc(1, sizeof(*keep));
        char *trash = NULL;
        bool was = task_set_interruptible(false);

        *keep = (struct keep){
                .store = store, .staging = staging, .only = only, .arena = arena, .err = err};
        task_lock(&store->lock, CLOCK_NEVER);
        int r = keep_locked(keep, &trash);
        task_unlock(&store->lock);
        store_unstage(store, trash);
        task_set_interruptible(was);
        free(keep);
        return r < 0 ? error_context(err, "keep layers") : 0;
}
