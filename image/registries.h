/*
 * registries: what registries.conf says.
 *
 * Reads version 2 of containers-registries.conf(5), with the drop-ins of the folder beside it (the
 * file's path and ".d"): unqualified-search-registries, short-name-mode, [aliases], [[registry]]
 * with its mirrors, credential-helpers. What is read is never changed; whoever keeps it counts
 * himself in. Reading blocks on the disk; everything else is pure. Any thread.
 */
#ifndef CRISP_IMAGE_REGISTRIES_H
#define CRISP_IMAGE_REGISTRIES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/reference.h"

#define REGISTRIES_FILES_MAX   256  /* drop-ins */
#define REGISTRIES_ENTRIES_MAX 4096 /* [[registry]] tables */
#define REGISTRIES_MIRRORS_MAX 14   /* of one of them: each is two endpoints where it is insecure */
#define REGISTRIES_SEARCH_MAX  32   /* unqualified-search-registries */

struct registries;

/* What holds where there is no file: short names belong to docker.io. */
struct registries *registries_new(void);
struct registries *registries_ref(struct registries *registries);
void registries_unref(struct registries *registries); /* null is allowed */

/*
 * Reads the file at path, if it is there, and *.conf of its drop-in folder in the order of their
 * names, later ones winning. Blocks. Errors name file and line.
 */
int registries_load(const char *path, struct registries **registries, struct error *err);

/* Adds a file's bytes to what was read before; on failure the object is good for unref only. */
int registries_add(struct registries *registries, const char *bytes, size_t length,
                   const char *file, struct error *err);

/* What the files at path looked like, on the heap: differs as soon as one has changed. Blocks. */
char *registries_fingerprint(const char *path);

/* ---- short names ---- */

/*
 * What a name may stand for, in the order to try, on the heap: one reference for a full name or an
 * alias, one for each search registry otherwise. INVALID_ARGUMENT for what is no name;
 * FAILED_PRECONDITION for a short name where there is no search registry or, where wanting is set,
 * more than one and short-name-mode is enforcing. wanting: the name is to be pulled, and not only
 * looked up among what is here.
 */
int registries_candidates(const struct registries *registries, const char *name, bool wanting,
                          struct reference **candidates, size_t *count, struct error *err);

/* ---- where an image is ---- */

/* A place as registries.conf has them: it does not say whether TLS is spoken there. */
struct registries_source {
        char *registry;   /* host[:port] */
        char *repository; /* there */
        bool insecure;    /* any certificate will do, and no TLS too */
};

/*
 * The places of reference, mirrors first, on the heap; none where no [[registry]] matches.
 * PERMISSION_DENIED where it is blocked; FAILED_PRECONDITION where a location leads to no name.
 */
int registries_sources(const struct registries *registries, const struct reference *reference,
                       struct registries_source **sources, size_t *count, struct error *err);
void registries_sources_free(struct registries_source *sources, size_t count);

/* The credential-helpers as they are written, a borrowed strv; null where the files say nothing. */
char *const *registries_credential_helpers(const struct registries *registries);

static inline void cleanup_registries(struct registries **registries)
{
        registries_unref(*registries);
}
#define AUTO_REGISTRIES CLEANUP(cleanup_registries)

#endif
