/*
 * sources: from an image's name to the places that may have it.
 *
 * A name stands for one candidate or, where it is short, for several; each candidate has endpoints:
 * its mirrors and its registry, as the machine's files say. Where a [[registry]] of registries.conf
 * matches, that decides; else containerd's hosts.toml, if the registry has one; else the name
 * alone. Loop's thread; what waits says so and is for tasks.
 */
#ifndef CRISP_IMAGE_SOURCES_H
#define CRISP_IMAGE_SOURCES_H

#include <stddef.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "image/reference.h"
#include "image/request.h"
#include "image/store.h"

struct sources;

struct sources_options {
        const char *registries_conf; /* null: none */
        char *const *hosts_dirs;     /* folders with HOST/hosts.toml, a strv; null: none */
        char *const *certs_dirs;     /* folders with HOST/ *.crt, *.cert, *.key; likewise */
};

/* Strings are copied. Reads nothing. */
struct sources *sources_new(const struct sources_options *options);
void sources_free(struct sources *sources); /* null is allowed */

/* Reads registries.conf. Blocks: before the loop runs. What cannot be read is told again by
 * sources_refresh. */
int sources_load(struct sources *sources, struct error *err);

/* Reads registries.conf again where it has changed since it was last read, or could not be. Waits.
 */
int sources_refresh(struct sources *sources, struct error *err);

/*
 * What a name that is to be pulled may stand for, in the order to try: at least one reference, on
 * the heap. INVALID_ARGUMENT for what is no name, FAILED_PRECONDITION for a short name that nobody
 * says more of, or that must not be guessed.
 */
int sources_candidates(const struct sources *sources, const char *name,
                       struct reference **candidates, size_t *count, struct error *err);

/*
 * The endpoints of a candidate, in the order to try: at least one, in the arena, without
 * credentials. Waits. PERMISSION_DENIED where it is blocked; errors name the file that is not as it
 * should be.
 */
int sources_endpoints(struct sources *sources, const struct reference *reference,
                      struct arena *arena, struct fetch_endpoint **endpoints, size_t *count,
                      struct error *err);

/* The credential-helpers of registries.conf as last read, a borrowed strv until the next wait; null
 * where it says nothing. */
char *const *sources_credential_helpers(const struct sources *sources);

/*
 * The image that name means, as store_find has it; a short name means what a pull of it would have
 * brought, and not what another registry has under it. Null when it is not here.
 */
const struct image *sources_find(const struct sources *sources, const struct store *store,
                                 const char *name);

static inline void cleanup_sources(struct sources **sources)
{
        sources_free(*sources);
}
#define AUTO_SOURCES CLEANUP(cleanup_sources)

#endif
