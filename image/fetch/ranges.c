#include "image/fetch/ranges.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "image/fetch/limits.h"
#include "image/fetch/memory.h"

#define STOP_LOOK 500 /* ms: who waits sees a stop by then */

enum part_state {
        PART_FREE,
        PART_FETCHING,
        PART_WHOLE,
        PART_GIVEN_UP, /* what is missing has to be streamed */
};

struct kept_part {
        enum part_state state;
        struct big_blob *blob; /* null: its owner does not want it any more */
        int64_t start, end;
        int64_t filled; /* bytes that came */
        char *bytes;    /* FETCH_RANGE_SIZE, from the first use on; only its fetcher writes */
};

/* On its owner's stack. Its parts are taken in their order: none is left out before frontier. */
struct big_blob {
        struct big_blob *next;
        struct ranges *ranges;
        const struct descriptor *descriptor;
        blob_sink *sink;
        void *argument;
        int64_t offset;   /* bytes that the sink has; written by the owner */
        int64_t frontier; /* the first byte that nobody fetches */
        int resumptions;
        int64_t passing; /* ns that the sink took of the part that the owner streams */
        bool proven;     /* the server does ranges */
        bool hungry; /* the network is slower than the sink: it takes more than one connection */
        bool single; /* not any more */
};

struct ranges {
        struct registry *registry;
        struct stop *stop;
        int64_t parallel;

        pthread_mutex_t mutex; /* for all that follows, and what it points to */
        pthread_cond_t changed;
        size_t owners; /* workers that have a blob, or may get one */
        size_t spares; /* and those that serve */
        struct big_blob *blobs;
        struct kept_part parts[FETCH_RANGES_MAX];
};

static void drop_bytes(struct kept_part *part)
{
        if (!part->bytes)
                return;
        free(part->bytes);
        part->bytes = NULL;
        memory_give_part(FETCH_RANGE_SIZE);
}

/* Somebody waits for memory that no part uses. */
static void give_idle(void *argument)
{
        struct ranges *ranges = argument;
        pthread_mutex_lock(&ranges->mutex);
        for (size_t i = 0; i < FETCH_RANGES_MAX; i++)
                if (ranges->parts[i].state == PART_FREE)
                        drop_bytes(&ranges->parts[i]);
        pthread_mutex_unlock(&ranges->mutex);
}

struct ranges *ranges_new(struct registry *registry, struct stop *stop, int64_t parallel)
{
        struct ranges *ranges = xcalloc(1, sizeof(*ranges));
        pthread_condattr_t attributes;

        ranges->registry = registry;
        ranges->stop = stop;
        ranges->parallel = parallel;
        pthread_mutex_init(&ranges->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&ranges->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        memory_set_keeper(give_idle, ranges);
        return ranges;
}

void ranges_free(struct ranges *ranges)
{
        if (!ranges)
                return;
        memory_set_keeper(NULL, NULL);
        for (size_t i = 0; i < FETCH_RANGES_MAX; i++)
                drop_bytes(&ranges->parts[i]);
        pthread_cond_destroy(&ranges->changed);
        pthread_mutex_destroy(&ranges->mutex);
        free(ranges);
}

bool ranges_suit(const struct ranges *ranges, const struct descriptor *descriptor)
{
        return ranges->parallel > 1 && descriptor->size >= FETCH_RANGES_LAYER_MIN &&
               descriptor->url_count == 0;
}

/* The mutex is held, here and wherever nothing else is said. */
static void wait_change(struct ranges *ranges)
{
        int64_t deadline = clock_after(STOP_LOOK * NSEC_PER_MSEC);
        struct timespec until = {deadline / NSEC_PER_SEC, deadline % NSEC_PER_SEC};
        pthread_cond_timedwait(&ranges->changed, &ranges->mutex, &until);
}

/* ---- parts ---- */

static bool is_shared(const struct big_blob *blob)
{
        return blob->proven && blob->hungry && !blob->single;
}

static struct kept_part *claim(struct ranges *ranges, struct big_blob *blob)
{
        int64_t size = blob->descriptor->size;

        if (!is_shared(blob) || blob->frontier == size)
                return NULL;
        for (size_t i = 0; i < FETCH_RANGES_MAX; i++) {
                struct kept_part *part = &ranges->parts[i];
                if (part->state != PART_FREE)
                        continue;
                if (!part->bytes && !memory_take_part(FETCH_RANGE_SIZE))
                        return NULL;
                if (!part->bytes)
                        part->bytes = xcalloc(1, FETCH_RANGE_SIZE);
                part->state = PART_FETCHING;
                part->blob = blob;
                part->start = blob->frontier;
                part->end = size - part->start < FETCH_RANGE_SIZE ? size
                                                                  : part->start + FETCH_RANGE_SIZE;
                part->filled = 0;
                blob->frontier = part->end;
                return part;
        }
        return NULL;
}

/* Its memory stays for the next one: the kernel's first touch of new memory is slow. */
static void release(struct kept_part *part)
{
        part->state = PART_FREE;
        part->blob = NULL;
}

/* The part that has the next byte of the sink's; null: the frontier is there. */
static struct kept_part *find_next(struct big_blob *blob)
{
        struct kept_part *parts = blob->ranges->parts;
        for (size_t i = 0; i < FETCH_RANGES_MAX; i++)
                if (parts[i].blob == blob && parts[i].start <= blob->offset &&
                    parts[i].end > blob->offset)
                        return &parts[i];
        return NULL;
}

/* Whoever fetches one of them learns it with the next bytes. */
static void drop_parts(struct big_blob *blob)
{
        struct kept_part *parts = blob->ranges->parts;
        for (size_t i = 0; i < FETCH_RANGES_MAX; i++) {
                if (parts[i].blob != blob)
                        continue;
                parts[i].blob = NULL;
                if (parts[i].state != PART_FETCHING)
                        release(&parts[i]);
        }
        pthread_cond_broadcast(&blob->ranges->changed);
}

/* ---- fetching a part ---- */

struct filling {
        struct ranges *ranges;
        struct kept_part *part;
        struct big_blob *own; /* of the thread that fetches, null: it has none */
        bool own_ended;       /* by its sink: the error is the blob's */
};

static int drain(struct big_blob *blob, struct error *err);

/* Without the mutex. An owner passes on what is there meanwhile. */
static int fill(void *argument, const char *bytes, size_t length, struct error *err)
{
        struct filling *filling = argument;
        struct ranges *ranges = filling->ranges;
        struct kept_part *part = filling->part;

        memcpy(part->bytes + part->filled, bytes, length);
        pthread_mutex_lock(&ranges->mutex);
        part->filled += (int64_t)length;
        bool wanted = part->blob;
        pthread_cond_broadcast(&ranges->changed);
        pthread_mutex_unlock(&ranges->mutex);
        if (!wanted)
                return error_set(err, ERROR_CANCELLED, "cancelled");
        int r = filling->own ? drain(filling->own, err) : 0;
        filling->own_ended = r < 0;
        return r;
}

/* A part that fails for good says that one stream is what this server is able to do. */
static void end_part(struct kept_part *part, int result, bool unsuited)
{
        struct big_blob *blob = part->blob;

        if (blob && (result < 0 || unsuited))
                blob->single = true;
        if (!blob || blob->offset >= part->end)
                release(part);
        else
                part->state = result < 0 ? PART_GIVEN_UP : PART_WHOLE;
}

/* Without the mutex. The part's failure is not the blob's; a negative return is. */
static int fetch_part(struct filling *filling, const struct descriptor *descriptor,
                      struct http_client *client, struct error *err)
{
        struct ranges *ranges = filling->ranges;
        struct kept_part *part = filling->part;
        struct blob_part request = {.digest = descriptor->digest,
                                    .size = descriptor->size,
                                    .offset = part->start,
                                    .end = part->end,
                                    .strict = true,
                                    .sink = fill,
                                    .argument = filling};

        int r = blob_fetch_part(ranges->registry, client, &request, err);
        pthread_mutex_lock(&ranges->mutex);
        end_part(part, r, request.unsuited);
        pthread_cond_broadcast(&ranges->changed);
        pthread_mutex_unlock(&ranges->mutex);
        return filling->own_ended ? r : 0;
}

/* ---- the owner ---- */

/* Passes on what has come of the next parts, without waiting. Without the mutex. */
static int drain(struct big_blob *blob, struct error *err)
{
        struct ranges *ranges = blob->ranges;

        for (;;) {
                pthread_mutex_lock(&ranges->mutex);
                struct kept_part *part = find_next(blob);
                int64_t at = part ? blob->offset - part->start : 0;
                int64_t count = part ? part->filled - at : 0;
                pthread_mutex_unlock(&ranges->mutex);
                if (count <= 0)
                        return 0;
                int r = blob->sink(blob->argument, part->bytes + at, (size_t)count, err);
                if (r < 0)
                        return r;
                pthread_mutex_lock(&ranges->mutex);
                blob->offset += count;
                if (part->state != PART_FETCHING && blob->offset == part->end) {
                        release(part);
                        pthread_cond_broadcast(&ranges->changed);
                }
                pthread_mutex_unlock(&ranges->mutex);
        }
}

/* Until the next part that is kept; as far as it goes where nobody else fetches. */
static int64_t direct_end(struct big_blob *blob)
{
        struct ranges *ranges = blob->ranges;
        int64_t end = blob->descriptor->size, left = end - blob->offset;
        struct kept_part *next = find_next(blob);

        if (next) {
                end = next->end;
                release(next);
                return end;
        }
        bool brief = !blob->proven || (blob->hungry && ranges->spares > 0);
        int64_t length = brief ? FETCH_RANGE_SIZE : FETCH_RANGE_ALONE;
        if (!blob->single && left > length)
                end = blob->offset + length;
        for (size_t i = 0; i < FETCH_RANGES_MAX; i++) {
                struct kept_part *part = &ranges->parts[i];
                if (part->blob == blob && part->start > blob->offset && part->start < end)
                        end = part->start;
        }
        return end;
}

static int pass_on(void *argument, const char *bytes, size_t length, struct error *err)
{
        struct big_blob *blob = argument;
        int64_t before = clock_monotonic();
        int r = blob->sink(blob->argument, bytes, length, err);
        blob->passing += clock_monotonic() - before;
        return r;
}

/* Fetches what nobody else does right into the sink. Without the mutex; part has its bounds. */
static int stream_part(struct big_blob *blob, struct blob_part *part, struct http_client *client,
                       struct error *err)
{
        struct ranges *ranges = blob->ranges;

        int64_t before = clock_monotonic();
        blob->passing = 0;
        int r = blob_fetch_part(ranges->registry, client, part, err);
        pthread_mutex_lock(&ranges->mutex);
        blob->hungry = blob->passing < (clock_monotonic() - before) / 2;
        blob->offset = part->offset;
        blob->resumptions = part->resumptions;
        if (blob->frontier < blob->offset)
                blob->frontier = blob->offset;
        if (part->unsuited) {
                blob->single = true;
                drop_parts(blob);
                /* Once more, without asking for a range's end. */
                if (r < 0 && part->end < part->size && err->code != ERROR_CANCELLED &&
                    err->code != ERROR_DATA_LOSS)
                        r = 0;
        } else if (r == 0) {
                blob->proven = true;
                pthread_cond_broadcast(&ranges->changed);
        }
        pthread_mutex_unlock(&ranges->mutex);
        return r;
}

/* What the owner does next, after what was there is passed on. */
static int take_step(struct big_blob *blob, struct http_client *client, struct error *err)
{
        struct ranges *ranges = blob->ranges;
        struct blob_part part = {.digest = blob->descriptor->digest,
                                 .size = blob->descriptor->size,
                                 .sink = pass_on,
                                 .argument = blob};
        struct filling filling = {.ranges = ranges, .own = blob};

        pthread_mutex_lock(&ranges->mutex);
        struct kept_part *next = find_next(blob);
        bool ready = next && next->start + next->filled > blob->offset;
        bool direct = !next || (next->state == PART_GIVEN_UP && !ready);
        if (direct) {
                part.offset = blob->offset;
                part.resumptions = blob->resumptions;
                part.end = direct_end(blob);
                if (blob->frontier < part.end)
                        blob->frontier = part.end;
        } else if (!ready) {
                filling.part = claim(ranges, blob);
                if (!filling.part)
                        wait_change(ranges);
        }
        pthread_mutex_unlock(&ranges->mutex);

        if (direct)
                return stream_part(blob, &part, client, err);
        if (filling.part)
                return fetch_part(&filling, blob->descriptor, client, err);
        return stop_is_set(ranges->stop) ? error_set(err, ERROR_CANCELLED, "cancelled") : 0;
}

static void open_blob(struct big_blob *blob)
{
        struct ranges *ranges = blob->ranges;
        pthread_mutex_lock(&ranges->mutex);
        blob->next = ranges->blobs;
        ranges->blobs = blob;
        pthread_mutex_unlock(&ranges->mutex);
}

static void close_blob(struct big_blob *blob)
{
        struct ranges *ranges = blob->ranges;
        struct big_blob **at = &ranges->blobs;

        pthread_mutex_lock(&ranges->mutex);
        while (*at != blob)
                at = &(*at)->next;
        *at = blob->next;
        drop_parts(blob);
        pthread_mutex_unlock(&ranges->mutex);
}

int ranges_stream(struct ranges *ranges, struct http_client *client,
                  const struct descriptor *descriptor, blob_sink *sink, void *argument,
                  struct error *err)
{
        if (!ranges_suit(ranges, descriptor))
                return blob_stream(ranges->registry, client, descriptor, sink, argument, err);

        struct big_blob blob = {
                .ranges = ranges, .descriptor = descriptor, .sink = sink, .argument = argument};
        int r = 0;
        open_blob(&blob);
        while (r == 0 && blob.offset < descriptor->size) {
                r = drain(&blob, err);
                if (r == 0 && blob.offset < descriptor->size)
                        r = take_step(&blob, client, err);
        }
        close_blob(&blob);
        return r;
}

/* ---- who serves ---- */

void ranges_enter(struct ranges *ranges)
{
        pthread_mutex_lock(&ranges->mutex);
        ranges->owners++;
        pthread_mutex_unlock(&ranges->mutex);
}

/* Of the blob that has the most to come. */
static struct kept_part *claim_any(struct ranges *ranges)
{
        struct big_blob *biggest = NULL;
        int64_t most = 0;

        for (struct big_blob *blob = ranges->blobs; blob; blob = blob->next) {
                int64_t left = blob->descriptor->size - blob->frontier;
                if (!is_shared(blob) || left <= most)
                        continue;
                biggest = blob;
                most = left;
        }
        return biggest ? claim(ranges, biggest) : NULL;
}

void ranges_serve(struct ranges *ranges, struct http_client *client)
{
        pthread_mutex_lock(&ranges->mutex);
        ranges->owners--;
        ranges->spares++;
        pthread_cond_broadcast(&ranges->changed);
        while (ranges->owners > 0 && !stop_is_set(ranges->stop)) {
                struct filling filling = {.ranges = ranges, .part = claim_any(ranges)};
                struct error err = {0};
                if (!filling.part) {
                        wait_change(ranges);
                        continue;
                }
                const struct descriptor *descriptor = filling.part->blob->descriptor;
                pthread_mutex_unlock(&ranges->mutex);
                fetch_part(&filling, descriptor, client, &err);
                pthread_mutex_lock(&ranges->mutex);
        }
        ranges->spares--;
        pthread_mutex_unlock(&ranges->mutex);
}
