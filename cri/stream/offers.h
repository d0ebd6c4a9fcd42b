/*
 * offers: paths of URLs that wait for their clients: "/exec/TOKEN", "/attach/TOKEN",
 * "/portforward/TOKEN". Any thread.
 */
#ifndef CRISP_CRI_STREAM_OFFERS_H
#define CRISP_CRI_STREAM_OFFERS_H

#include "cri/stream/bridge.h"
#include "cri/stream/session.h"

#define OFFERS_TOKEN_LENGTH 32 /* hexadecimal digits: 128 random bits */
#define OFFERS_PATH_SIZE    64 /* bytes of a path with its zero */

struct offers;

/* lifetime: ns that one waits. */
struct offers *offers_new(int64_t lifetime);
/* When the loop has ended. */
void offers_free(struct offers *offers);

/* Takes the bridge, and puts its path. RESOURCE_EXHAUSTED where STREAM_OFFERS_MAX wait. */
int offers_add(struct offers *offers, struct bridge *bridge, const struct session_options *options,
               char path[OFFERS_PATH_SIZE], struct error *err);
/* Gives the bridge away, once and in time, to who asks for its path; else false. */
bool offers_take(struct offers *offers, const char *path, struct bridge **bridge,
                 struct session_options *options);
/* Drops those whose time is over. Returns when the next one's will be, or CLOCK_NEVER. */
int64_t offers_expire(struct offers *offers);

#endif
