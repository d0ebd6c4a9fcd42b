#include "image/share.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/table.h"
#include "base/task.h"
#include "image/store_keep.h"

#define LOOKS_IN_A_WINDOW 6

struct waiter {
        struct sharer *sharer;
        char *digest; /* of its form of the layer */
};

/* A layer on its way. */
struct flight {
        char *diff_id;
        struct sharer *fetcher;
        struct waiter *waiters; /* in the order in which they asked */
        size_t waiter_count;
        bool whole;
        bool keeping;         /* a task takes it over into the store */
        char *digest;         /* of what its fetcher fetches; or null: it tells of no progress */
        int64_t bytes;        /* of it that came */
        int64_t window_start; /* monotonic; of the window and of the wait, while somebody waits */
        int64_t window_bytes;
        int64_t awaited_since;
};

struct share {
        struct store *store;
        struct table *flights; /* by diff ID */
        uint64_t count, given_up;
        uint64_t serial;
        struct share_limits limits;
        int64_t looked; /* monotonic; at what is waited for */
};

struct sharer {
        struct share *share;
        char *staging;
        uint64_t serial;
        void (*answer)(void *argument, const char *diff_id, enum fetch_verdict verdict);
        void *argument;
        struct store_hold **holds; /* layers that it was told are here */
        size_t hold_count;
        bool has_whole;
};

struct share *share_new(struct store *store, const struct share_limits *limits)
{
        struct share *share = xcalloc(1, sizeof(*share));
        share->store = store;
        share->limits = *limits;
        if (!share->limits.window)
                share->limits.window = SHARE_WINDOW;
        if (!share->limits.rate)
                share->limits.rate = SHARE_RATE;
        if (!share->limits.patience)
                share->limits.patience = SHARE_PATIENCE;
        share->flights = table_new();
        return share;
}

static void end_flight(struct share *share, struct flight *flight)
{
        table_remove(share->flights, flight->diff_id);
        for (size_t i = 0; i < flight->waiter_count; i++)
                free(flight->waiters[i].digest);
        free(flight->diff_id);
        free(flight->digest);
        free(flight->waiters);
        free(flight);
}

void share_free(struct share *share)
{
        struct flight *flight;

        if (!share)
                return;
        /* Pulls that go on without the daemon have not come to their end. */
        for (size_t cursor = 0; (flight = table_next(share->flights, &cursor, NULL)); cursor = 0)
                end_flight(share, flight);
        table_free(share->flights);
        free(share);
}

struct sharer *sharer_new(struct share *share, const char *staging,
                          void (*answer)(void *argument, const char *diff_id,
                                         enum fetch_verdict verdict),
                          void *argument)
{
        struct sharer *sharer = xcalloc(1, sizeof(*sharer));
        sharer->share = share;
        sharer->staging = xstrdup(staging);
        sharer->serial = ++share->serial;
        sharer->answer = answer;
        sharer->argument = argument;
        return sharer;
}

static void answer(struct sharer *sharer, const char *diff_id, enum fetch_verdict verdict)
{
        if (sharer->answer)
                sharer->answer(sharer->argument, diff_id, verdict);
}

/* Whether the layer is here; it then stays until the sharer ends. */
static bool hold(struct sharer *sharer, const char *diff_id)
{
        struct store_hold *found = store_hold_layer(sharer->share->store, diff_id);
        if (!found)
                return false;
        sharer->holds = xrealloc(sharer->holds, (sharer->hold_count + 1) * sizeof(*sharer->holds));
        sharer->holds[sharer->hold_count++] = found;
        return true;
}

/* ---- flights ---- */

static struct flight *start_flight(struct sharer *sharer, const char *diff_id, const char *digest)
{
        struct flight *flight = xcalloc(1, sizeof(*flight));
        flight->diff_id = xstrdup(diff_id);
        flight->digest = xstrdup(digest);
        flight->fetcher = sharer;
        table_put(sharer->share->flights, diff_id, flight);
        return flight;
}

static struct waiter first_waiter(struct flight *flight)
{
        struct waiter first = flight->waiters[0];
        flight->waiter_count--;
        memmove(flight->waiters, flight->waiters + 1, flight->waiter_count * sizeof(struct waiter));
        return first;
}

/* Somebody begins to wait for this fetcher. */
static void start_wait(struct flight *flight)
{
        flight->awaited_since = flight->window_start = clock_monotonic();
        flight->window_bytes = flight->bytes;
}

/* It is the first waiter's to fetch. */
static void hand_over(struct flight *flight)
{
        struct waiter next = first_waiter(flight);
        flight->fetcher = next.sharer;
        free(flight->digest);
        flight->digest = next.digest;
        flight->bytes = 0;
        flight->whole = false;
        start_wait(flight);
        answer(flight->fetcher, flight->diff_id, FETCH_ANSWER_FETCH);
}

/* The layer is in the store, or its fetcher ended without it. */
static void settle(struct share *share, struct flight *flight)
{
        bool here = true;
        while (flight->waiter_count > 0 &&
               (here = hold(flight->waiters[0].sharer, flight->diff_id))) {
                struct waiter waiter = first_waiter(flight);
                free(waiter.digest);
                answer(waiter.sharer, flight->diff_id, FETCH_ANSWER_PRESENT);
        }
        if (flight->waiter_count == 0)
                end_flight(share, flight);
        else
                hand_over(flight);
}

/* ---- patience ---- */

/* Why nobody waits any longer; null: it goes well. */
static const char *judge(const struct share *share, struct flight *flight, int64_t now)
{
        const struct share_limits *limits = &share->limits;
        if (flight->waiter_count == 0 || flight->keeping)
                return NULL;
        if (now - flight->awaited_since >= limits->patience)
                return "it takes too long";
        if (!flight->digest || now - flight->window_start < limits->window)
                return NULL;
        if (flight->bytes - flight->window_bytes < limits->rate * limits->window / NSEC_PER_SEC)
                return "it comes too slowly";
        flight->window_start = now;
        flight->window_bytes = flight->bytes;
        return NULL;
}

/* Handing over asks nobody to come or go: the table stays as it is. */
static void look(struct share *share)
{
        struct flight *flight;
        size_t cursor = 0;
        int64_t now = clock_monotonic();
        if (now - share->looked < share->limits.window / LOOKS_IN_A_WINDOW)
                return;
        share->looked = now;
        while ((flight = table_next(share->flights, &cursor, NULL))) {
                const char *why = judge(share, flight, now);
                if (!why)
                        continue;
                log_info("a layer that another pull fetches is not waited for any longer", "layer",
                         flight->diff_id, "why", why, NULL);
                share->given_up++;
                hand_over(flight);
        }
}

/* ---- taking a layer over ---- */

struct keep_job {
        struct share *share;
        char *staging;
        char *diff_id;
        uint64_t serial; /* of the fetcher */
};

static void keep_task(void *argument)
{
        struct keep_job *job = argument;
        struct error err;
        int result = store_keep(job->share->store, job->staging, job->diff_id, &err);
        if (result < 0)
                log_failure(&err, "a layer that others wait for could not be kept", "layer",
                            job->diff_id, NULL);
        struct flight *flight = table_get(job->share->flights, job->diff_id);
        if (flight && flight->keeping && flight->fetcher->serial == job->serial) {
                flight->keeping = false;
                /* What it has in its folder no longer counts: its tree is the store's now. */
                if (result == 0)
                        hold(flight->fetcher, job->diff_id);
                settle(job->share, flight);
        }
        free(job->staging);
        free(job->diff_id);
        free(job);
}

static void keep(struct flight *flight)
{
        struct sharer *sharer = flight->fetcher;
        if (flight->keeping)
                return;
        flight->keeping = true;
        struct keep_job *job = xcalloc(1, sizeof(*job));
        job->share = sharer->share;
        job->staging = xstrdup(sharer->staging);
        job->diff_id = xstrdup(flight->diff_id);
        job->serial = sharer->serial;
        task_start("keep layer", keep_task, job);
}

/* ---- sharers ---- */

void sharer_want(struct sharer *sharer, const char *diff_id, const char *digest)
{
        struct share *share = sharer->share;
        struct flight *flight = table_get(share->flights, diff_id);
        if (hold(sharer, diff_id)) {
                answer(sharer, diff_id, FETCH_ANSWER_PRESENT);
                return;
        }
        if (!flight || flight->fetcher == sharer) {
                if (!flight)
                        start_flight(sharer, diff_id, digest);
                answer(sharer, diff_id, FETCH_ANSWER_FETCH);
                return;
        }
        for (size_t i = 0; i < flight->waiter_count; i++)
                if (flight->waiters[i].sharer == sharer)
                        return;
        share->count++;
        flight->waiters =
                xrealloc(flight->waiters, (flight->waiter_count + 1) * sizeof(struct waiter));
        flight->waiters[flight->waiter_count] = (struct waiter){sharer, xstrdup(digest)};
        if (flight->waiter_count++ == 0)
                start_wait(flight);
        answer(sharer, diff_id, FETCH_ANSWER_WAIT);
        if (flight->whole)
                keep(flight);
}

void sharer_progress(struct sharer *sharer, const char *digest, int64_t bytes)
{
        struct flight *flight;
        size_t cursor = 0;
        while ((flight = table_next(sharer->share->flights, &cursor, NULL)))
                if (flight->fetcher == sharer && flight->digest && bytes > flight->bytes &&
                    strcmp(flight->digest, digest) == 0)
                        flight->bytes = bytes;
        look(sharer->share);
}

void sharer_claim(struct sharer *sharer, const char *diff_id)
{
        if (!table_get(sharer->share->flights, diff_id))
                start_flight(sharer, diff_id, NULL);
}

void sharer_whole(struct sharer *sharer, const char *diff_id)
{
        struct flight *flight = table_get(sharer->share->flights, diff_id);
        sharer->has_whole = true;
        if (!flight || flight->fetcher != sharer)
                return;
        flight->whole = true;
        if (flight->waiter_count > 0)
                keep(flight);
}

bool sharer_is_awaited(const struct sharer *sharer)
{
        const struct flight *flight;
        size_t cursor = 0;
        while ((flight = table_next(sharer->share->flights, &cursor, NULL)))
                if (flight->fetcher == sharer && flight->waiter_count > 0)
                        return true;
        return false;
}

bool sharer_has_whole(const struct sharer *sharer)
{
        return sharer->has_whole;
}

void sharer_mute(struct sharer *sharer)
{
        sharer->answer = NULL;
}

static void stop_waiting(struct sharer *sharer)
{
        struct flight *flight;
        size_t cursor = 0;
        while ((flight = table_next(sharer->share->flights, &cursor, NULL))) {
                size_t left = 0;
                for (size_t i = 0; i < flight->waiter_count; i++) {
                        if (flight->waiters[i].sharer == sharer)
                                free(flight->waiters[i].digest);
                        else
                                flight->waiters[left++] = flight->waiters[i];
                }
                flight->waiter_count = left;
        }
}

/* Its flights, as a list: settling changes the table. */
static struct flight **flights_of(const struct sharer *sharer, size_t *count)
{
        struct table *all = sharer->share->flights;
        struct flight **list = xcalloc(table_size(all) + 1, sizeof(struct flight *));
        struct flight *flight;
        size_t cursor = 0;
        *count = 0;
        while ((flight = table_next(all, &cursor, NULL)))
                if (flight->fetcher == sharer)
                        list[(*count)++] = flight;
        return list;
}

void sharer_settle(struct sharer *sharer)
{
        size_t count;
        AUTO_FREE struct flight **list = flights_of(sharer, &count);
        for (size_t i = 0; i < count; i++) {
                struct flight *flight = list[i];
                struct store_hold *here = store_hold_layer(sharer->share->store, flight->diff_id);
                if (here)
                        settle(sharer->share, flight);
                store_hold_free(here);
        }
}

void sharer_end(struct sharer *sharer)
{
        size_t count;
        if (!sharer)
                return;
        stop_waiting(sharer);
        AUTO_FREE struct flight **list = flights_of(sharer, &count);
        for (size_t i = 0; i < count; i++) {
                list[i]->keeping = false;
                settle(sharer->share, list[i]);
        }
        for (size_t i = 0; i < sharer->hold_count; i++)
                store_hold_free(sharer->holds[i]);
        free(sharer->holds);
        free(sharer->staging);
        free(sharer);
}

uint64_t share_count(const struct share *share)
{
        return share->count;
}

uint64_t share_count_given_up(const struct share *share)
{
        return share->given_up;
}
