/*
 * sources: from an image's name to the places that may have it.
 *
 * A name stands for one candidate or, where it is short, for several; each candidate has endpoints:
 * its mirrors and its registry. Loop's thread; what waits says so and is for tasks.
 */
#ifndef CRISP_IMAGE_SOURCES_H
#define CRISP_IMAGE_SOURCES_H

#include <stddef.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "image/reference.h"
#include "image/request.h"

struct sources;

struct sources *sources_new(void);
void sources_free(struct sources *sources); /* null is allowed */

/* Reads again what has changed on the disk since it was last read. Waits. */
int sources_refresh(struct sources *sources, struct error *err);

/*
 * What a name that is to be pulled may stand for, in the order to try: at least one reference, on
 * the heap. INVALID_ARGUMENT for what is no name.
 */
int sources_candidates(const struct sources *sources, const char *name,
                       struct reference **candidates, size_t *count, struct error *err);

/*
 * The endpoints of a candidate, in the order to try: at least one, in the arena, without
 * credentials. Waits.
 */
int sources_endpoints(struct sources *sources, const struct reference *reference,
                      struct arena *arena, struct fetch_endpoint **endpoints, size_t *count,
                      struct error *err);

static inline void cleanup_sources(struct sources **sources)
{
        sources_free(*sources);
}
#define AUTO_SOURCES CLEANUP(cleanup_sources)

#endif
