/*
 * digest: checking bytes against the digest by which they were asked for.
 *
 * sha256 and sha512, with libcrypto. One object belongs to one thread at a time.
 */
#ifndef CRISP_IMAGE_FETCH_DIGEST_H
#define CRISP_IMAGE_FETCH_DIGEST_H

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/reference.h"

struct digest;

/* Starts one of the same kind as expected, a valid digest; null stands for sha256. */
struct digest *digest_new(const char *expected);
void digest_free(struct digest *digest); /* null is allowed */

void digest_add(struct digest *digest, const void *bytes, size_t length);

/* Writes "sha256:..." into out and leaves the object fit only for digest_free. */
void digest_finish(struct digest *digest, char out[REFERENCE_DIGEST_MAX + 1]);

/* Finishes and compares: DATA_LOSS "the digest is X instead of Y". */
int digest_check(struct digest *digest, const char *expected, struct error *err);

/* The same for bytes that are there in whole. */
int digest_check_bytes(const void *bytes, size_t length, const char *expected, struct error *err);

static inline void cleanup_digest(struct digest **digest)
{
        digest_free(*digest);
}
#define AUTO_DIGEST CLEANUP(cleanup_digest)

#endif
