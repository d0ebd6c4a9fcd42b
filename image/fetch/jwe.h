/*
 * jwe: secrets that are encrypted for the owner of a private key (RFC 7516, JSON serialization).
 *
 * As much of it as wraps keys of layers: the content in AES-GCM, its key wrapped by RSA-OAEP,
 * RSA-OAEP-256 or ECDH-ES with AES key wrap (RFC 7518). Debian 12 has no library for it: its
 * libjose is built without RSA-OAEP. Pure; any thread.
 */
#ifndef CRISP_IMAGE_FETCH_JWE_H
#define CRISP_IMAGE_FETCH_JWE_H

#include <openssl/evp.h>
#include <stddef.h>

#include "base/error.h"

#define JWE_BYTES_MAX      (64u << 10)
#define JWE_RECIPIENTS_MAX 64

/*
 * Decrypts the document with one of the keys. *secret is on the heap, followed by a zero byte: the
 * caller wipes and frees it. INVALID_ARGUMENT for what is no such document, FAILED_PRECONDITION
 * where no key fits.
 */
int jwe_decrypt(EVP_PKEY *const *keys, size_t count, const char *document, size_t length,
                char **secret, size_t *secret_length, struct error *err);

#endif
