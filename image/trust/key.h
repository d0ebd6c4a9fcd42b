/*
 * key: public keys and what they signed.
 *
 * ECDSA with ASN.1 signatures and RSA (PKCS #1 v1.5), both over SHA-256, and Ed25519, as sigstore
 * uses them. Pure; any thread.
 */
#ifndef CRISP_IMAGE_TRUST_KEY_H
#define CRISP_IMAGE_TRUST_KEY_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "image/policy.h"

#define KEY_RSA_BITS_MIN 2048

/* A public key in PEM; the caller calls EVP_PKEY_free. */
int key_read(const struct policy_key *text, EVP_PKEY **key, struct error *err);

/* Whether signature is the key's, over bytes. */
bool key_verifies(EVP_PKEY *key, const char *bytes, size_t length, const struct buffer *signature);

/* Whether a block of PEM has exactly these bytes in it and nothing follows. */
bool key_pem_is(const struct buffer *pem, const unsigned char *der, size_t length);

static inline void cleanup_key(EVP_PKEY **key)
{
        EVP_PKEY_free(*key);
}
#define AUTO_KEY CLEANUP(cleanup_key)

#endif
