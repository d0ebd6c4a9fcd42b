#include "image/fetch/layers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/fetch/http.h"
#include "image/fetch/limits.h"
#include "image/fetch/stage.h"

#define PROGRESS_PERIOD (250 * NSEC_PER_MSEC)
#define ANSWER_LOOK     500  /* ms: a failure of another thread is noticed by then */
#define WAITING_REPORT  5000 /* ms: who waits for others says that it is alive */
#define DIGEST_SHOWN    19   /* "sha256:" and 12 digits: enough to find a layer by */
#define RESERVE_PART    20   /* no more than this part of a small disk is reserved */
#define MIB             (INT64_C(1) << 20)

enum slot_state {
        SLOT_NEW,
        SLOT_ASKED,   /* and not answered yet */
        SLOT_WAITING, /* somebody else fetches it */
        SLOT_TAKEN,   /* by a thread, or done */
};

struct layer_slot {
        struct layers *layers;
        struct layer_job job;
        bool wanted;
        enum slot_state state;
        bool elsewhere;   /* came with another pull */
        int64_t reported; /* monotonic time of its last progress report */
};

struct layers {
        struct layers_options options;
        size_t count;
        struct layer_slot *slots; /* one for each layer of the manifest */
        _Atomic int64_t notes_left;
        struct ranges *ranges;

        pthread_mutex_t mutex; /* for what follows, and the slots' states */
        bool failed;
        struct error error; /* of the first failure */
};

/* Who is asked about layers; null: nobody. */
static struct desk *desk_of(const struct layers *layers)
{
        return layers->options.artifact ? NULL : layers->options.listener->desk;
}

/* ---- reports ---- */

/* Room that is left to whoever else uses the disk. 0, or an error that says what to do. */
static int check_room(const struct layers *layers, int64_t needed, struct error *err)
{
        struct statvfs room;
        int64_t reserve = layers->options.limits->disk_reserve;

        if (reserve <= 0 || fstatvfs(layers->options.staging_fd, &room) < 0)
                return 0;
        int64_t left = (int64_t)room.f_bavail * (int64_t)room.f_frsize;
        int64_t part = (int64_t)room.f_blocks * (int64_t)room.f_frsize / RESERVE_PART;
        if (reserve > part)
                reserve = part;
        if (left - needed >= reserve)
                return 0;
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "the disk of the image store has %lld MiB left, %lld MiB more are needed "
                         "and %lld MiB stay free (images.disk_reserve_mib): remove images that are "
                         "not used, or give it more space",
                         (long long)(left / MIB), (long long)((needed + MIB - 1) / MIB),
                         (long long)(reserve / MIB));
}

static void fail(struct layers *layers, const struct error *err)
{
        pthread_mutex_lock(&layers->mutex);
        /* Keeps the first failure that is one. */
        if (!layers->failed ||
            (layers->error.code == ERROR_CANCELLED && err->code != ERROR_CANCELLED))
                layers->error = *err;
        layers->failed = true;
        pthread_mutex_unlock(&layers->mutex);
        stop_set(layers->options.stop);
}

static void tell(struct layer_slot *slot, const struct fetch_progress *progress)
{
        const struct fetch_listener *listener = slot->layers->options.listener;
        slot->reported = clock_monotonic();
        listener->progress(listener->argument, progress);
}

static void report(void *argument, const struct fetch_progress *progress)
{
        struct layer_slot *slot = argument;
        struct error err = {0};

        if (!progress->done && clock_monotonic() - slot->reported < PROGRESS_PERIOD)
                return;
        if (!progress->done && check_room(slot->layers, 0, &err) < 0)
                fail(slot->layers, &err);
        tell(slot, progress);
}

static void report_done(struct layer_slot *slot)
{
        struct fetch_progress progress = {.digest = slot->job.descriptor->digest,
                                          .bytes = slot->job.descriptor->size,
                                          .total = slot->job.descriptor->size,
                                          .done = true};
        tell(slot, &progress);
}

void layers_report_last(struct layers *layers)
{
        if (layers->count > 0)
                report_done(&layers->slots[layers->count - 1]);
}

/* ---- what has to come ---- */

/* Each diff ID once, and not those that the store has. */
struct layers *layers_new(const struct layers_options *options)
{
        struct layers *layers = xcalloc(1, sizeof(*layers));
        struct table *known = table_new();

        layers->options = *options;
        layers->count = options->manifest->count;
        layers->notes_left = FETCH_NOTES_BYTES_MAX;
        layers->ranges =
                ranges_new(options->registry, options->stop, options->limits->parallel_layers);
        pthread_mutex_init(&layers->mutex, NULL);
        for (size_t i = 0; i < options->request->present_count; i++)
                table_put(known, options->request->present[i], layers);
        layers->slots = xcalloc(layers->count + 1, sizeof(layers->slots[0]));
        for (size_t i = 0; i < layers->count; i++) {
                struct layer_slot *slot = &layers->slots[i];

                /* An artifact's blobs are files: the same one may have two titles. */
                const char *key =
                        options->artifact ? options->artifact->titles[i] : options->diff_ids[i];
                slot->layers = layers;
                slot->wanted = table_put(known, key, layers) == NULL || options->artifact;
                slot->state = slot->wanted ? SLOT_NEW : SLOT_TAKEN;
                slot->job = (struct layer_job){
                        .descriptor = &options->manifest->entries[i],
                        .diff_id = key,
                        .layers_fd = options->layers_fd,
                        .tars_fd = options->tars_fd,
                        .keyring = options->loaded->keyring,
                        .ranges = layers->ranges,
                        .limits = options->limits,
                        .notes_left = &layers->notes_left,
                        .progress = report,
                        .argument = slot,
                };
        }
        table_free(known);
        return layers;
}

void layers_free(struct layers *layers)
{
        if (!layers)
                return;
        for (size_t i = 0; i < layers->count; i++)
                tree_free(layers->slots[i].job.tree);
        free(layers->slots);
        ranges_free(layers->ranges);
        pthread_mutex_destroy(&layers->mutex);
        free(layers);
}

int layers_add_sizes(const struct layers *layers, int64_t *total, struct error *err)
{
        for (size_t i = 0; i < layers->count; i++)
                if (__builtin_add_overflow(*total, layers->slots[i].job.descriptor->size, total))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "manifest: sizes out of range");
        return 0;
}

/* ---- who fetches ---- */

static void ask(struct layer_slot *slot)
{
        const struct fetch_listener *listener = slot->layers->options.listener;
        struct fetch_want want = {.diff_id = slot->job.diff_id,
                                  .digest = slot->job.descriptor->digest,
                                  .size = slot->job.descriptor->size};
        listener->want(listener->argument, &want);
}

static enum fetch_verdict look(const struct layers *layers, const struct layer_slot *slot)
{
        struct desk *desk = desk_of(layers);
        return desk ? desk_look(desk, slot->job.diff_id) : FETCH_ANSWER_FETCH;
}

/* Whether the slot is the calling thread's now. The mutex is held. */
static bool take_answered(struct layers *layers, struct layer_slot *slot)
{
        enum fetch_verdict verdict = look(layers, slot);
        if (verdict == FETCH_ANSWER_WAIT)
                slot->state = SLOT_WAITING;
        if (verdict != FETCH_ANSWER_FETCH && verdict != FETCH_ANSWER_PRESENT)
                return false;
        slot->state = SLOT_TAKEN;
        slot->elsewhere = verdict == FETCH_ANSWER_PRESENT;
        return true;
}

/*
 * The next slot to work on, as far as it can be said now: whoever asked about it, an answer is for
 * the first thread that is free. *mine is the one that the thread asked about and that has no
 * answer yet: it does not ask about another. False in *more when there will be none. The mutex is
 * held.
 */
static struct layer_slot *pick(struct layers *layers, struct layer_slot **mine, bool *more)
{
        struct layer_slot *fresh = NULL;
        *more = false;
        for (size_t i = 0; i < layers->count; i++) {
                struct layer_slot *slot = &layers->slots[i];
                bool asked = slot->state == SLOT_ASKED || slot->state == SLOT_WAITING;
                if (asked && take_answered(layers, slot))
                        return slot;
                if (slot->state == SLOT_NEW && !fresh)
                        fresh = slot;
                *more |= slot->state != SLOT_TAKEN;
        }
        if (*mine && (*mine)->state != SLOT_ASKED)
                *mine = NULL;
        if (*mine || !fresh)
                return NULL;
        if (!desk_of(layers)) {
                fresh->state = SLOT_TAKEN;
                return fresh;
        }
        fresh->state = SLOT_ASKED;
        *mine = fresh;
        return NULL;
}

static void report_waiting(struct layers *layers)
{
        int64_t now = clock_monotonic();
        for (size_t i = 0; i < layers->count; i++) {
                struct layer_slot *slot = &layers->slots[i];
                pthread_mutex_lock(&layers->mutex);
                bool due = slot->state == SLOT_WAITING &&
                           now - slot->reported > WAITING_REPORT * NSEC_PER_MSEC;
                if (due)
                        slot->reported = now;
                pthread_mutex_unlock(&layers->mutex);
                struct fetch_progress progress = {.digest = slot->job.descriptor->digest,
                                                  .total = slot->job.descriptor->size};
                if (due)
                        layers->options.listener->progress(layers->options.listener->argument,
                                                           &progress);
        }
}

/* Waits for answers as long as there is nothing to do without them. Null at the end. */
static struct layer_slot *take_slot(struct layers *layers)
{
        struct layer_slot *mine = NULL;

        for (;;) {
                bool more = true;
                struct layer_slot *before = mine;
                struct desk *desk = desk_of(layers);
                unsigned seen = desk ? desk_changes(desk) : 0;

                pthread_mutex_lock(&layers->mutex);
                struct layer_slot *slot = layers->failed ? NULL : pick(layers, &mine, &more);
                bool end = layers->failed || !more;
                pthread_mutex_unlock(&layers->mutex);
                if (slot || end)
                        return slot;
                if (mine && mine != before) {
                        ask(mine);
                        continue;
                }
                desk_wait(desk, seen, ANSWER_LOOK);
                report_waiting(layers);
        }
}

/* ---- one of them ---- */

static void describe(const struct layer_slot *slot, struct fetch_layer *layer)
{
        *layer = (struct fetch_layer){
                .diff_id = slot->job.diff_id,
                .digest = slot->job.descriptor->digest,
                .size = slot->job.descriptor->size,
        };
        if (!slot->wanted || slot->elsewhere)
                return;
        layer->directory = slot->job.name;
        layer->unpacked = slot->job.unpacked;
        layer->entries = slot->job.entries;
        tree_notes(slot->job.tree, layer);
}

static int write_whole(int fd, const char *text, struct error *err)
{
        for (size_t at = 0, length = strlen(text); at < length;) {
                ssize_t written = write(fd, text + at, length - at);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return error_errno(err, errno, "describing the layer");
                at += (size_t)written;
        }
        return 0;
}

/* Beside the folder: what is there is whole. Not synced: it means nothing after a crash of the
 * machine. */
static int keep_description(const struct layer_slot *slot, const struct fetch_layer *layer,
                            struct error *err)
{
        struct fetch_reply reply = {.kind = FETCH_LAYER, .layer = *layer};
        AUTO_FREE char *text = reply_encode(&reply);
        AUTO_FREE char *draft = xprintf("%s.draft", slot->job.name);
        AUTO_FREE char *name = xprintf("%s.json", slot->job.name);
        int folder = slot->job.layers_fd;
        AUTO_FD int fd =
                openat(folder, draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(err, errno, "describing the layer");
        int r = write_whole(fd, text, err);
        if (r == 0 && renameat(folder, draft, folder, name) < 0)
                r = error_errno(err, errno, "describing the layer");
        return r;
}

static int finish(struct layer_slot *slot, struct error *err)
{
        const struct fetch_listener *listener = slot->layers->options.listener;
        struct fetch_layer layer;

        if (!desk_of(slot->layers))
                return 0;
        describe(slot, &layer);
        int r = keep_description(slot, &layer, err);
        if (r < 0)
                return r;
        layer.opaque_count = layer.implied_count = layer.link_count = 0;
        listener->layer(listener->argument, &layer);
        return 0;
}

/* Its code alone may mean another bound. */
static void explain_full_disk(struct error *err)
{
        static const char advice[] = ": the disk of the image store is full: remove images that "
                                     "are not used, or give it more space";
        size_t length = strlen(err->message);
        if (strstr(err->message, strerror(ENOSPC)) || strstr(err->message, strerror(EDQUOT)))
                snprintf(err->message + length, sizeof(err->message) - length, "%s", advice);
}

static int fetch_slot(struct layer_slot *slot, struct http_client *client, struct error *err)
{
        struct layers *layers = slot->layers;
        struct registry *registry = layers->options.registry;
        const struct artifact *artifact = layers->options.artifact;
        int r;
        if (artifact)
                r = artifact_fetch(artifact, slot->job.diff_id, &slot->job, client, err);
        else if (slot->elsewhere)
                r = blob_check(registry, client, slot->job.descriptor->digest, err);
        else
                r = layer_fetch(&slot->job, client, err);
        if (r == 0 && !slot->elsewhere)
                r = finish(slot, err);
        if (r < 0) {
                explain_full_disk(err);
                return error_context(err, "layer %zu of %zu (%.*s)",
                                     (size_t)(slot - layers->slots) + 1, layers->count,
                                     DIGEST_SHOWN, slot->job.descriptor->digest);
        }
        report_done(slot);
        return 0;
}

static void *run_worker(void *argument)
{
        struct layers *layers = argument;
        const struct fetch_limits *limits = layers->options.limits;
        AUTO_HTTP_CLIENT struct http_client *client = NULL;
        struct error err = {0};
        struct layer_slot *slot;

        int r = http_client_new(layers->options.stop, limits->connect_timeout,
                                limits->stall_timeout, &client, &err);
        if (r == 0)
                http_client_set_rate(client, limits->min_rate);
        while (r == 0 && (slot = take_slot(layers)))
                r = fetch_slot(slot, client, &err);
        if (r < 0)
                fail(layers, &err);
        ranges_serve(layers->ranges, client);
        return NULL;
}

/* ---- all of them ---- */

/* Unpacked they take more; this is what is known. *workers gets how many have something to do. */
static int check_sizes(const struct layers *layers, size_t *workers, struct error *err)
{
        int64_t needed = 0;
        size_t wanted = 0;
        bool shared = false;

        for (size_t i = 0; i < layers->count; i++)
                if (layers->slots[i].wanted) {
                        const struct descriptor *descriptor = layers->slots[i].job.descriptor;
                        wanted++;
                        needed += descriptor->size;
                        shared |= ranges_suit(layers->ranges, descriptor);
                }
        size_t most = (size_t)layers->options.limits->parallel_layers;
        *workers = wanted > most || shared ? most : wanted;
        return wanted > 0 ? check_room(layers, needed, err) : 0;
}

int layers_fetch(struct layers *layers, struct error *err)
{
        pthread_t threads[FETCH_PARALLEL_MAX];
        struct desk *desk = desk_of(layers);
        size_t workers = 0, started = 0;
        struct error start_error = {0};

        int r = check_sizes(layers, &workers, err);
        if (r < 0)
                return r;
        if (workers > 0 && desk && desk_is_closed(desk))
                return error_set(err, ERROR_CANCELLED, "the daemon is gone");
        while (started < workers) {
                ranges_enter(layers->ranges);
                int number = pthread_create(&threads[started], NULL, run_worker, layers);
                if (number != 0) {
                        error_errno(&start_error, number, "starting a thread");
                        fail(layers, &start_error);
                        break;
                }
                started++;
        }
        for (size_t i = 0; i < started; i++)
                pthread_join(threads[i], NULL);
        if (!layers->failed)
                return 0;
        *err = layers->error;
        return err->number;
}

/* ---- the result ---- */

void layers_describe(const struct layers *layers, struct arena *arena, struct fetch_result *result)
{
        struct fetch_layer *list = arena_array(arena, layers->count + 1, sizeof(*list));
        for (size_t i = 0; i < layers->count; i++) {
                describe(&layers->slots[i], &list[i]);
                if (list[i].directory)
                        stage_copy_layer(arena, &list[i]);
        }
        result->layers = list;
        result->layer_count = layers->count;
}
