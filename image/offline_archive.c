/* Images into archives and out of them. */
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/offline_private.h"

/* ---- saving ---- */

/* A name in the request that is a tag; others stand for the image with all its tags. */
static char *tag_of(const char *name)
{
        struct reference reference;
        if (digest_is_valid(name) || reference_parse(name, &reference, NULL) < 0 ||
            reference.digest[0])
                return NULL;
        return reference_tagged(&reference);
}

static void add_name(struct arena *arena, struct offline_image *image, const char *name)
{
        for (size_t i = 0; i < image->name_count; i++)
                if (strcmp(image->names[i], name) == 0)
                        return;
        const char **names = arena_array(arena, image->name_count + 1, sizeof(*names));
        for (size_t i = 0; i < image->name_count; i++)
                names[i] = image->names[i];
        names[image->name_count++] = arena_strdup(arena, name);
        image->names = names;
}

/* The names that were asked for, of those that the image has. */
static void name_image(const struct offline_saving *saving, const struct store *store,
                       struct arena *arena, struct offline_image *described)
{
        const struct image *image = store_held(store, described->id);

        for (size_t i = 0; i < saving->count; i++) {
                AUTO_FREE char *tag = tag_of(saving->names[i]);
                bool one = false;
                if (store_find(store, saving->names[i]) != image)
                        continue;
                for (char **each = image->tags; tag && each && *each; each++)
                        one |= strcmp(*each, tag) == 0;
                if (one)
                        add_name(arena, described, tag);
                for (char **each = image->tags; !one && each && *each; each++)
                        add_name(arena, described, *each);
        }
}

int offline_save(struct offline *offline, const struct offline_saving *saving,
                 const struct offline_hooks *hooks, struct error *err)
{
        struct offline_run run = {.offline = offline, .hooks = hooks};
        AUTO_OFFLINE_HOLD struct offline_hold hold = {0};
        AUTO_ARENA struct arena *arena = arena_new();
        struct offline_request request = {
                .kind = OFFLINE_SAVE, .format = saving->format, .compression = saving->compression};
        bool ended;

        if (saving->count == 0 || saving->count > OFFLINE_IMAGES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "save images: name 1 to %d of them",
                                 OFFLINE_IMAGES_MAX);
        int r = offline_hold_images(&hold, offline->store, saving->names, saving->count, err);
        if (r < 0)
                return error_context(err, "save images");
        struct offline_image *images = arena_array(arena, hold.count, sizeof(*images));
        for (size_t i = 0; i < hold.count; i++) {
                offline_describe(offline->store, hold.ids[i], arena, &images[i]);
                name_image(saving, offline->store, arena, &images[i]);
        }
        offline_name_stores(offline->store, arena, &request);
        request.images = images;
        request.image_count = hold.count;
        r = offline_run(&run, &request, saving->fd, &ended, err);
        return r < 0 ? error_context(err, "save images") : 0;
}

/* ---- loading ---- */

/* What crisp-image has put into the staging folder. */
struct loading {
        struct offline_reply replies[OFFLINE_IMAGES_MAX];
        struct arena *arenas[OFFLINE_IMAGES_MAX]; /* where they live */
        size_t count;
};

static void loading_free(struct loading **slot)
{
        struct loading *loading = *slot;
        for (size_t i = 0; i < loading->count; i++)
                arena_free(loading->arenas[i]);
        free(loading);
}

static int keep_loaded(struct offline_run *run, const struct offline_reply *reply,
                       struct arena **arena, struct error *err)
{
        struct loading *loading = run->argument;

        if (reply->kind != OFFLINE_SAYS_LOADED || loading->count == OFFLINE_IMAGES_MAX ||
            reply->name_count == 0 || strchr(reply->directory, '/') || reply->directory[0] == '.')
                return error_set(err, ERROR_INTERNAL, "crisp-image says what nobody asked for");
        loading->arenas[loading->count] = take_ptr(*arena);
        loading->replies[loading->count++] = *reply;
        return 0;
}

void offline_loaded_free(struct offline_loaded *loaded, size_t count)
{
        for (size_t i = 0; loaded && i < count; i++) {
                free(loaded[i].id);
                strv_free(loaded[i].names);
        }
        free(loaded);
}

/* Stores one image under its first name, and gives it the others. */
static int store_loaded(struct store *store, const char *staging, const struct offline_reply *reply,
                        struct offline_loaded *loaded, struct error *err)
{
        AUTO_FREE char *folder = xprintf("%s/%s", staging, reply->directory);
        struct reference reference;
        int r = 0;

        for (size_t i = 0; r == 0 && i < reply->name_count; i++) {
                if ((r = reference_parse(reply->names[i], &reference, err)) < 0)
                        break;
                r = i == 0 ? store_commit(store, &reference, folder, &reply->result, &loaded->id,
                                          err)
                           : store_tag(store, loaded->id, &reference, err);
                AUTO_FREE char *full = reference_text(&reference);
                strv_push(&loaded->names, full);
        }
        return r < 0 ? error_context(err, "%.200s", reply->names[0]) : 0;
}

static int store_all(struct store *store, const char *staging, const struct loading *loading,
                     struct offline_loaded **loaded, size_t *count, struct error *err)
{
        struct offline_loaded *list = xcalloc(loading->count + 1, sizeof(*list));
        int r = 0;

        for (size_t i = 0; r == 0 && i < loading->count; i++)
                r = store_loaded(store, staging, &loading->replies[i], &list[i], err);
        if (r < 0) {
                offline_loaded_free(list, loading->count);
                return r;
        }
        *loaded = list;
        *count = loading->count;
        return 0;
}

static int load(struct offline *offline, const struct offline_loading *wanted,
                const struct offline_hooks *hooks, const struct store_hold *hold, char *staging,
                struct loading *loading, bool *ended, struct error *err)
{
        struct offline_run run = {
                .offline = offline, .hooks = hooks, .on_other = keep_loaded, .argument = loading};
        struct offline_request request = {
                .kind = OFFLINE_LOAD,
                .name = wanted->name,
                .fetch = {.reference = "archive",
                          .staging = staging,
                          .os = wanted->os,
                          .architecture = wanted->architecture,
                          .variant = wanted->variant,
                          .limits = offline->limits},
        };
        request.fetch.present = store_hold_diff_ids(hold, &request.fetch.present_count);
        return offline_run(&run, &request, wanted->fd, ended, err);
}

int offline_load(struct offline *offline, const struct offline_loading *wanted,
                 const struct offline_hooks *hooks, struct offline_loaded **loaded, size_t *count,
                 struct error *err)
{
        CLEANUP(loading_free) struct loading *loading = xcalloc(1, sizeof(*loading));
        /* What the archive needs not bring stays until its images are stored. */
        AUTO_STORE_HOLD struct store_hold *hold = store_hold_new(offline->store);
        char *staging = NULL;
        bool ended = true;

        int r = store_stage(offline->store, &staging, err);
        if (r == 0)
                r = load(offline, wanted, hooks, hold, staging, loading, &ended, err);
        if (r == 0)
                r = store_all(offline->store, staging, loading, loaded, count, err);
        if (ended) {
                store_unstage(offline->store, staging);
        } else {
                log_warning("crisp-image does not end: its folder is left", "folder", staging,
                            NULL);
                free(staging);
        }
        return r < 0 ? error_context(err, "load images") : 0;
}
