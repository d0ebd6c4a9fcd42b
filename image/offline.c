#include "image/offline.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "image/offline_private.h"

#define TOTAL (24 * 3600 * NSEC_PER_SEC) /* for one run of crisp-image */
#define STALL (600 * NSEC_PER_SEC)       /* without a word from it */

struct offline *offline_new(const struct offline_options *options)
{
        struct offline *offline = xcalloc(1, sizeof(*offline));
        offline->store = options->store;
        offline->puller = options->puller;
        offline->program = xstrdup(options->program);
        offline->environment = strv_dup(options->environment);
        offline->limits = options->limits;
        return offline;
}

void offline_free(struct offline *offline)
{
        if (!offline)
                return;
        free(offline->program);
        strv_free(offline->environment);
        free(offline);
}

/* ---- what is said ---- */

void offline_tell(struct offline_run *run, const struct finding *finding)
{
        uint64_t *count = finding->verdict == FINDING_PASS      ? &run->summary.passed
                          : finding->verdict == FINDING_WARNING ? &run->summary.warned
                                                                : &run->summary.failed;
        (*count)++;
        if (finding->verdict == FINDING_FAIL && run->on_failure)
                run->on_failure(run, finding);
        if (run->hooks && run->hooks->on_finding)
                run->hooks->on_finding(run->hooks->argument, finding);
}

static int on_reply(void *argument, const struct offline_reply *reply, struct arena **arena,
                    struct error *err)
{
        struct offline_run *run = argument;

        switch (reply->kind) {
        case OFFLINE_SAYS_FINDING:
                offline_tell(run, &reply->finding);
                return 0;
        case OFFLINE_SAYS_PROGRESS:
                if (run->hooks && run->hooks->on_progress)
                        run->hooks->on_progress(run->hooks->argument, &reply->progress);
                return 0;
        case OFFLINE_SAYS_DONE:
                run->summary.objects += reply->objects;
                run->summary.unsaid += reply->unsaid;
                run->summary.failed += reply->unsaid;
                return 0;
        default:
                if (run->on_other)
                        return run->on_other(run, reply, arena, err);
                return error_set(err, ERROR_INTERNAL, "crisp-image says what nobody asked for");
        }
}

int offline_run(struct offline_run *run, const struct offline_request *request, int fd, bool *ended,
                struct error *err)
{
        struct fetcher_options options = {
                .program = run->offline->program,
                .environment = run->offline->environment,
                .stall = STALL,
                .deadline = clock_after(TOTAL),
        };
        struct fetcher_errand errand = {
                .request = request, .fd = fd, .on_reply = on_reply, .argument = run};
        return fetcher_run_errand(&options, &errand, ended, err);
}

void offline_name_stores(const struct store *store, struct arena *arena,
                         struct offline_request *request)
{
        struct store_usage usage;

        store_usage(store, &usage);
        request->store = usage.directory;
        request->additional_count = strv_length(usage.additional);
        const char **stores = arena_array(arena, request->additional_count + 1, sizeof(*stores));
        for (size_t i = 0; i < request->additional_count; i++)
                stores[i] = usage.additional[i];
        request->additional = stores;
}

/* ---- images that must stay meanwhile ---- */

void offline_hold_fini(struct offline_hold *hold)
{
        for (size_t i = 0; i < hold->count; i++) {
                store_release(hold->store, hold->ids[i], hold->user);
                free(hold->ids[i]);
        }
        free(hold->ids);
}

static int hold_image(struct offline_hold *hold, const char *id, struct error *err)
{
        for (size_t i = 0; i < hold->count; i++)
                if (strcmp(hold->ids[i], id) == 0)
                        return 0;
        int r = store_use(hold->store, id, hold->user, err);
        if (r < 0)
                return r;
        hold->ids = xrealloc(hold->ids, (hold->count + 1) * sizeof(hold->ids[0]));
        hold->ids[hold->count++] = xstrdup(id);
        return 0;
}

/* An artifact has no layers to verify or to write. */
static int hold_named(struct offline_hold *hold, const struct image *image, struct error *err)
{
        if (image->artifact)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%.200s is an artifact and no container image: pull it again "
                                 "instead",
                                 image->tags ? image->tags[0] : image->id);
        return hold_image(hold, image->id, err);
}

int offline_hold_images(struct offline_hold *hold, struct store *store, const char *const *names,
                        size_t count, struct error *err)
{
        static unsigned number;
        const struct image *image;
        size_t cursor = 0;
        int r = 0;

        hold->store = store;
        /* No container is called so: IDs are digits. */
        snprintf(hold->user, sizeof(hold->user), STORE_READER "%u", number++);
        for (size_t i = 0; r == 0 && i < count; i++) {
                image = store_find(store, names[i]);
                r = image ? hold_named(hold, image, err)
                          : error_set(err, ERROR_NOT_FOUND, "image %.200s: not found", names[i]);
        }
        while (r == 0 && count == 0 && (image = store_next(store, &cursor)))
                if (!image->artifact)
                        r = hold_image(hold, image->id, err);
        return r;
}

void offline_describe(const struct store *store, const char *id, struct arena *arena,
                      struct offline_image *described)
{
        const struct image *image = store_held(store, id);
        const char **diff_ids = arena_array(arena, image->layer_count + 1, sizeof(*diff_ids));

        for (size_t i = 0; i < image->layer_count; i++)
                diff_ids[i] = arena_strdup(arena, image->layers[i]->name);
        *described = (struct offline_image){
                .id = arena_strdup(arena, id),
                .manifest_digest = arena_strdup(arena, image->manifest_digest),
                .diff_ids = diff_ids,
                .layer_count = image->layer_count,
                .fixup = image->fixup ? arena_strdup(arena, image->fixup->name) : NULL,
        };
}
