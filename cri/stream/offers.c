#include "cri/stream/offers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/memory.h"
#include "cri/stream/server.h"

struct offer {
        char token[OFFERS_TOKEN_LENGTH + 1];
        struct bridge *bridge;
        struct session_options options;
        int64_t deadline;
        struct offer *next; /* older ones first */
};

struct offers {
        int64_t lifetime;
        pthread_mutex_t lock;
        struct offer *first, **last;
        unsigned count;
};

static const char *const folders[] = {
        [STREAM_EXEC] = "/exec/",
        [STREAM_ATTACH] = "/attach/",
        [STREAM_PORT_FORWARD] = "/portforward/",
};

struct offers *offers_new(int64_t lifetime)
{
        struct offers *offers = xcalloc(1, sizeof *offers);
        offers->lifetime = lifetime;
        pthread_mutex_init(&offers->lock, NULL);
        offers->last = &offers->first;
        return offers;
}

/* With the lock held. */
static struct offer *unlink_offer(struct offers *offers, struct offer **at)
{
        struct offer *offer = *at;
        *at = offer->next;
        if (!*at)
                offers->last = at;
        offers->count--;
        return offer;
}

static struct offer *take_expired(struct offers *offers, int64_t now, int64_t *next)
{
        struct offer *offer = NULL;
        pthread_mutex_lock(&offers->lock);
        if (offers->first && offers->first->deadline <= now)
                offer = unlink_offer(offers, &offers->first);
        *next = offers->first ? offers->first->deadline : CLOCK_NEVER;
        pthread_mutex_unlock(&offers->lock);
        return offer;
}

int64_t offers_expire(struct offers *offers)
{
        struct offer *offer;
        int64_t next;
        while ((offer = take_expired(offers, clock_monotonic(), &next))) {
                bridge_drop(offer->bridge);
                free(offer);
        }
        return next;
}

void offers_free(struct offers *offers)
{
        struct offer *offer;
        int64_t next;
        if (!offers)
                return;
        while ((offer = take_expired(offers, CLOCK_NEVER, &next))) {
                bridge_abandon(offer->bridge);
                free(offer);
        }
        pthread_mutex_destroy(&offers->lock);
        free(offers);
}

int offers_add(struct offers *offers, struct bridge *bridge, const struct session_options *options,
               char path[OFFERS_PATH_SIZE], struct error *err)
{
        offers_expire(offers);
        struct offer *offer = xcalloc(1, sizeof *offer);
        offer->bridge = bridge;
        offer->options = *options;
        offer->deadline = clock_after(offers->lifetime);
        id_random_hex(offer->token, OFFERS_TOKEN_LENGTH);
        snprintf(path, OFFERS_PATH_SIZE, "%s%s", folders[options->kind], offer->token);
        pthread_mutex_lock(&offers->lock);
        bool full = offers->count >= STREAM_OFFERS_MAX;
        if (!full) {
                *offers->last = offer;
                offers->last = &offer->next;
                offers->count++;
        }
        pthread_mutex_unlock(&offers->lock);
        if (!full)
                return 0;
        free(offer);
        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                         "%d streaming URLs wait for their clients already; each is good for a "
                         "minute",
                         STREAM_OFFERS_MAX);
}

/* Takes as long for a wrong token as for a right one. */
static bool same_token(const char *a, const char *b)
{
        unsigned difference = 0;
        for (size_t i = 0; i < OFFERS_TOKEN_LENGTH; i++)
                difference |= (unsigned char)a[i] ^ (unsigned char)b[i];
        return difference == 0;
}

/* False for a path that none can have. */
static bool parse_path(const char *path, enum stream_kind *kind, const char **token)
{
        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
                size_t length = strlen(folders[i]);
                if (strncmp(path, folders[i], length) != 0)
                        continue;
                *kind = (enum stream_kind)i;
                *token = path + length;
                return strlen(*token) == OFFERS_TOKEN_LENGTH;
        }
        return false;
}

bool offers_take(struct offers *offers, const char *path, struct bridge **bridge,
                 struct session_options *options)
{
        struct offer *found = NULL;
        enum stream_kind kind;
        const char *token;
        if (!parse_path(path, &kind, &token))
                return false;
        offers_expire(offers);
        pthread_mutex_lock(&offers->lock);
        for (struct offer **at = &offers->first; *at && !found; at = &(*at)->next) {
                if (!same_token((*at)->token, token) || (*at)->options.kind != kind)
                        continue;
                found = unlink_offer(offers, at);
                break;
        }
        pthread_mutex_unlock(&offers->lock);
        if (!found)
                return false;
        *bridge = found->bridge;
        *options = found->options;
        free(found);
        return true;
}
