/*
 * ring: bytes on their way from one thread to another, a bounded number of them.
 *
 * One thread writes and one reads; both work in place, without copies. A third may follow: it reads
 * the same bytes, at its own pace. Each may break the ring, which ends all: how an error on one
 * side stops the other.
 */
#ifndef CRISP_IMAGE_FETCH_RING_H
#define CRISP_IMAGE_FETCH_RING_H

#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct ring;

struct ring *ring_new(size_t size);
void ring_free(struct ring *ring); /* both threads are done; null is allowed */

/* The writer. Waits for room; returns how many bytes may be written at *space, or 0 when the ring
 * is broken. */
size_t ring_write_begin(struct ring *ring, char **space);
void ring_write_end(struct ring *ring, size_t count); /* count bytes were written */
int ring_write(struct ring *ring, const char *bytes,
               size_t count);        /* copies; -ECANCELED when broken */
void ring_finish(struct ring *ring); /* nothing more comes */

/*
 * The reader. Waits until at least minimum bytes (no more than fit before the ring's seam) or the
 * end came; returns how many are at *data, 0 at the end, -ECANCELED when the ring is broken.
 */
ssize_t ring_read_begin(struct ring *ring, size_t minimum, const char **data);
void ring_read_end(struct ring *ring, size_t count); /* count bytes were used */

/*
 * The follower. ring_follow is called before any thread uses the ring; from then on room for the
 * writer is what both have read. The other two are for it what ring_read_* are for the reader.
 */
void ring_follow(struct ring *ring);
ssize_t ring_follow_begin(struct ring *ring, const char **data);
void ring_follow_end(struct ring *ring, size_t count);

/* Each of them. */
void ring_break(struct ring *ring);

static inline void cleanup_ring(struct ring **ring)
{
        ring_free(*ring);
}
#define AUTO_RING CLEANUP(cleanup_ring)

#endif
