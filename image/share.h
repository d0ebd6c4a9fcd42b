/*
 * share: one download of a layer, however many pulls want it.
 *
 * Each crisp-image that is about to fetch a layer asks. The first one fetches; the others go on
 * with what else they have to do, and hear later that the layer is here, or, where the first one
 * ended without it, that it is theirs to fetch. Nobody waits for somebody who is himself only
 * waiting: who was told to fetch does so before it waits for anything. Loop's thread.
 */
#ifndef CRISP_IMAGE_SHARE_H
#define CRISP_IMAGE_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "image/request.h"
#include "image/store.h"

struct share;
struct sharer; /* one crisp-image, from its first question until its staging folder goes */

/*
 * How long one waits for another's registry, and for what it says: a layer that somebody waits for
 * has to bring so much over each window, and to be whole within a time. Then the first who waits is
 * told to fetch it, too; the other goes on with it for itself.
 */
#define SHARE_WINDOW   (30 * NSEC_PER_SEC)
#define SHARE_RATE     (32 << 10) /* bytes a second */
#define SHARE_PATIENCE (30 * 60 * NSEC_PER_SEC)

struct share_limits {
        int64_t window, patience; /* ns; 0: the default */
        int64_t rate;
};

struct share *share_new(struct store *store, const struct share_limits *limits);
void share_free(struct share *share); /* no sharers may be left; null is allowed */

/* answer is called from within the functions below and later; null for one that does not ask.
 * staging is copied. */
struct sharer *sharer_new(struct share *share, const char *staging,
                          void (*answer)(void *argument, const char *diff_id,
                                         enum fetch_verdict verdict),
                          void *argument);

/* It wants to fetch the layer, whose compressed form is digest. */
void sharer_want(struct sharer *sharer, const char *diff_id, const char *digest);

/* So many bytes of the blob have come, it says; or that it lives: who waits says so now and then,
 * and then it is looked at how what it waits for gets on. */
void sharer_progress(struct sharer *sharer, const char *digest, int64_t bytes);

/* It fetches the layer unasked, unless somebody does already. */
void sharer_claim(struct sharer *sharer, const char *diff_id);

/* The layer is whole in its staging folder. Where somebody waits for it, it is taken over into the
 * store at once. */
void sharer_whole(struct sharer *sharer, const char *diff_id);

/* Whether somebody waits for one of its layers; whether one of them is whole. */
bool sharer_is_awaited(const struct sharer *sharer);
bool sharer_has_whole(const struct sharer *sharer);

/* Its crisp-image has ended: it gets no more answers. */
void sharer_mute(struct sharer *sharer);

/* What it brought is in the store by now or will never be: whoever waits for the rest gets it to
 * fetch. Frees sharer; null is allowed. */
void sharer_end(struct sharer *sharer);

/* Those who waited and found the layers in the store. */
void sharer_settle(struct sharer *sharer);

/* Since the start: layers that were waited for; waits that were given up. */
uint64_t share_count(const struct share *share);
uint64_t share_count_given_up(const struct share *share);

#endif
