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

#include "image/request.h"
#include "image/store.h"

struct share;
struct sharer; /* one crisp-image, from its first question until its staging folder goes */

struct share *share_new(struct store *store);
void share_free(struct share *share); /* no sharers may be left; null is allowed */

/* answer is called from within the functions below and later; null for one that does not ask.
 * staging is copied. */
struct sharer *sharer_new(struct share *share, const char *staging,
                          void (*answer)(void *argument, const char *diff_id,
                                         enum fetch_verdict verdict),
                          void *argument);

/* It wants to fetch the layer. */
void sharer_want(struct sharer *sharer, const char *diff_id);

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

uint64_t share_count(const struct share *share); /* layers that were waited for, since the start */

#endif
