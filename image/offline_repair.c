/* Broken images put right from where they came, and images of registries looked at. */
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/offline_private.h"

#define TOTAL (6 * 3600 * NSEC_PER_SEC) /* for fetching one image's broken layers */
#define STALL (600 * NSEC_PER_SEC)

static void unstage(struct offline *offline, char *staging, bool ended)
{
        if (ended) {
                store_unstage(offline->store, staging);
                return;
        }
        log_warning("crisp-image does not end: its folder is left", "folder", staging, NULL);
        free(staging);
}

/* ---- repairing ---- */

/* What the first look found: the objects of its failures. */
static void note_failure(struct offline_run *run, const struct finding *finding)
{
        table_put(run->argument, finding->object, run);
}

static bool is_broken(const struct table *broken, const char *kind, const char *digest)
{
        AUTO_FREE char *object = xprintf("%s %s", kind, digest);
        return table_get(broken, object) != NULL;
}

/* Copies the image's repo digest; false where nothing of the image is broken. */
static bool needs_repair(const struct store *store, const struct table *broken, const char *id,
                         char **digest)
{
        const struct image *image = store_held(store, id);
        bool needed = is_broken(broken, "image", id);

        for (size_t i = 0; i < image->layer_count; i++)
                needed |= is_broken(broken, "layer", image->layers[i]->name);
        *digest = needed && image->digests ? xstrdup(image->digests[0]) : NULL;
        return needed;
}

static void tell_progress(void *argument, const struct fetch_progress *progress)
{
        struct offline_run *run = argument;
        struct offline_progress told = {
                .object = progress->digest, .bytes = progress->bytes, .total = progress->total};
        if (run->hooks && run->hooks->on_progress)
                run->hooks->on_progress(run->hooks->argument, &told);
}

/* Fetches what is broken into staging, and exchanges it. */
static int fetch_again(struct offline_run *run, const struct table *broken, const char *id,
                       const char *digest, char *staging, bool *ended, struct error *err)
{
        struct offline *offline = run->offline;
        AUTO_ARENA struct arena *ours = arena_new();
        AUTO_ARENA struct arena *theirs = NULL;
        AUTO_STORE_HOLD struct store_hold *hold = store_hold_new(offline->store);
        struct fetch_request request = {.staging = staging};
        struct fetch_result result;
        size_t count, present = 0;

        int r = pull_plan(offline->puller, digest, NULL, ours, &request, err);
        if (r < 0)
                return r;
        const char *const *all = store_hold_diff_ids(hold, &count);
        const char **whole = arena_array(ours, count + 1, sizeof(*whole));
        for (size_t i = 0; i < count; i++)
                if (!is_broken(broken, "layer", all[i]))
                        whole[present++] = all[i];
        request.present = whole;
        request.present_count = present;
        struct fetcher_options options = {
                .program = offline->program,
                .environment = offline->environment,
                .stall = STALL,
                .deadline = clock_after(TOTAL),
                .on_progress = tell_progress,
                .argument = run,
        };
        r = fetcher_run(&options, &request, &theirs, &result, ended, err);
        request_wipe(&request);
        return r < 0 ? r : store_repair(offline->store, id, staging, &result, err);
}

static int repair_image(struct offline_run *run, const struct table *broken, const char *id,
                        struct error *err)
{
        AUTO_FREE char *digest = NULL;
        char *staging = NULL;
        bool ended = true;

        const char *lent = store_held(run->offline->store, id)->home;
        if (!needs_repair(run->offline->store, broken, id, &digest))
                return 0;
        if (lent)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "image %s lies in the additional store %s, which is only read: "
                                 "repair it there",
                                 id, lent);
        if (!digest)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "image %s: it has no repo digest to fetch it again by: remove it "
                                 "and pull or load it again",
                                 id);
        int r = store_stage(run->offline->store, &staging, err);
        if (r == 0)
                r = fetch_again(run, broken, id, digest, staging, &ended, err);
        unstage(run->offline, staging, ended);
        return r < 0 ? error_context(err, "image %s", id) : 0;
}

int offline_repair(struct offline *offline, const char *const *names, size_t count,
                   const struct offline_hooks *hooks, struct offline_summary *summary,
                   struct error *err)
{
        struct table *broken = table_new();
        struct offline_run look = {
                .offline = offline, .hooks = hooks, .on_failure = note_failure, .argument = broken};
        AUTO_OFFLINE_HOLD struct offline_hold hold = {0};

        int r = offline_hold_images(&hold, offline->store, names, count, err);
        if (r == 0)
                r = offline_verify_held(&look, &hold, err);
        bool whole = table_size(broken) == 0;
        for (size_t i = 0; r == 0 && i < hold.count; i++)
                r = repair_image(&look, broken, hold.ids[i], err);
        table_free(broken);
        struct offline_run again = {.offline = offline, .hooks = hooks};
        if (r == 0 && !whole)
                r = offline_verify_held(&again, &hold, err);
        if (r < 0)
                return error_context(err, "repair images");
        *summary = whole ? look.summary : again.summary;
        return 0;
}

/* ---- checking ---- */

static int check(struct offline_run *run, const struct offline_checking *checking,
                 const char *staging, bool *ended, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct offline_request request = {.kind = OFFLINE_CHECK, .remote = checking->fd < 0};
        int r = 0;

        request.fetch.reference = "archive";
        request.fetch.limits = run->offline->limits;
        if (request.remote)
                r = pull_plan(run->offline->puller, checking->reference, checking->credentials,
                              arena, &request.fetch, err);
        request.fetch.staging = staging;
        if (r == 0)
                r = offline_run(run, &request, checking->fd, ended, err);
        request_wipe(&request.fetch);
        return r;
}

int offline_check(struct offline *offline, const struct offline_checking *checking,
                  const struct offline_hooks *hooks, struct offline_summary *summary,
                  struct error *err)
{
        struct offline_run run = {.offline = offline, .hooks = hooks};
        char *staging = NULL;
        bool ended = true;

        int r = store_stage(offline->store, &staging, err);
        if (r == 0)
                r = check(&run, checking, staging, &ended, err);
        unstage(offline, staging, ended);
        if (r < 0)
                return error_context(err, "check image");
        *summary = run.summary;
        return 0;
}
