/*
 * reference: the name by which somebody asks for an image, in full.
 *
 * Follows the grammar of the distribution project's reference package and Docker's short names:
 * "busybox" is docker.io/library/busybox:latest. All functions are pure, take any thread and never
 * block.
 */
#ifndef CRISP_IMAGE_REFERENCE_H
#define CRISP_IMAGE_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define REFERENCE_NAME_MAX   255 /* bytes of registry/repository, as registries demand */
#define REFERENCE_TAG_MAX    128
#define REFERENCE_DIGEST_MAX 135 /* "sha512:" and 128 digits */

struct reference {
        char registry[REFERENCE_NAME_MAX + 1];   /* host[:port]: "docker.io", "[::1]:5000" */
        char repository[REFERENCE_NAME_MAX + 1]; /* "library/busybox" */
        char tag[REFERENCE_TAG_MAX + 1];         /* empty where only a digest was given */
        char digest[REFERENCE_DIGEST_MAX +
                    1]; /* "sha256:...", or empty; it decides where both are given */
};

/*
 * Reads an image's name and completes it: a first part without dot, colon or port that is not
 * "localhost" belongs to docker.io, whose one-part repositories are in library/; without tag and
 * digest the tag is "latest". INVALID_ARGUMENT with the reason for everything else: upper-case
 * repositories, a bare ID (64 hexadecimal digits), a URL scheme, a digest of an unknown kind.
 */
int reference_parse(const char *text, struct reference *reference, struct error *err);

/* Whether text says no registry, so that the machine's configuration decides where it is from. It
 * need not be a valid name. */
bool reference_is_short(const char *text);

/* registry/repository[:tag][@digest], on the heap. Parsing it again gives the same reference. */
char *reference_text(const struct reference *reference);

/* registry/repository:tag on the heap, or null where there is no tag. What ImageStatus calls a repo
 * tag. */
char *reference_tagged(const struct reference *reference);

/* registry/repository@digest on the heap: a repo digest. */
char *reference_digested(const struct reference *reference, const char *digest);

/* Whether text is "sha256:" and 64 or "sha512:" and 128 lower-case hexadecimal digits. Null is not.
 */
bool digest_is_valid(const char *text);

#endif
