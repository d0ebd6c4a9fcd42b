/*
 * offers: URLs that wait for their clients. Any thread.
 */
#ifndef CRISP_CRI_STREAM_OFFERS_H
#define CRISP_CRI_STREAM_OFFERS_H

#include "cri/stream/bridge.h"
#include "cri/stream/session.h"

#define OFFERS_TOKEN_LENGTH 32 /* hexadecimal digits: 128 random bits */

struct offers;

struct offers *offers_new(void);
/* When the loop has ended. */
void offers_free(struct offers *offers);

/* Takes the bridge, and puts its token. RESOURCE_EXHAUSTED where STREAM_OFFERS_MAX wait. */
int offers_add(struct offers *offers, struct bridge *bridge, const struct session_options *options,
               char token[OFFERS_TOKEN_LENGTH + 1], struct error *err);
/* Gives the bridge away, once and in time; else false. */
bool offers_take(struct offers *offers, enum stream_kind kind, const char *token,
                 struct bridge **bridge, struct session_options *options);
/* Drops those whose time is over. Returns when the next one's will be, or CLOCK_NEVER. */
int64_t offers_expire(struct offers *offers);

#endif
