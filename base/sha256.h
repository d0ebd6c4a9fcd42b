/*
 * sha256: SHA-256 of bytes that are at hand.
 *
 * For the daemon, which does without libcrypto; crisp-image hashes streams by image/fetch/digest.h.
 * Pure; any thread.
 */
#ifndef CRISP_BASE_SHA256_H
#define CRISP_BASE_SHA256_H

#include <stddef.h>

#define SHA256_HEX 64 /* digits */

/* Writes the digest's lower-case digits and a final zero. */
void sha256_hex(const void *bytes, size_t length, char out[SHA256_HEX + 1]);

#endif
