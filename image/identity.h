/*
 * identity: whether a signature is for the name that an image was asked for by.
 *
 * Pure; any thread.
 */
#ifndef CRISP_IMAGE_IDENTITY_H
#define CRISP_IMAGE_IDENTITY_H

#include <stdbool.h>

#include "base/error.h"
#include "image/policy.h"
#include "image/reference.h"

/* Whether the policy's own words are right: a reference with a tag or digest, a repository without,
 * prefixes in full. INVALID_ARGUMENT says which is not. */
int identity_check(const struct policy_identity *identity, struct error *err);

/*
 * claimed is the name that the signature is for: a stranger's text. Where the image's reference has
 * a digest its tag does not count. No name is completed with a tag.
 */
bool identity_matches(const struct policy_identity *identity, const struct reference *reference,
                      const char *claimed);

#endif
