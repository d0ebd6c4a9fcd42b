/*
 * verify: whether an image meets the requirements of a policy.
 */
#ifndef CRISP_IMAGE_TRUST_VERIFY_H
#define CRISP_IMAGE_TRUST_VERIFY_H

#include "base/error.h"
#include "image/verification.h"

/*
 * Each requirement needs one signature that it accepts; reasons for the others are told. scratch is
 * an empty folder for gpg's files. Blocks: starts gpg.
 */
int verify_image(const struct verification *verification, const char *scratch, struct error *err);

#endif
