/*
 * decrypt: an encrypted layer on its way to plain bytes.
 *
 * As ocicrypt has it: the layer's key is wrapped in the annotation
 * org.opencontainers.image.enc.keys.jwe of its descriptor, its cipher (AES-256 in counter mode) and
 * the HMAC of the encrypted bytes stand in org.opencontainers.image.enc.pubopts. Only what
 * decrypt_finish has confirmed counts. One thread for each object.
 */
#ifndef CRISP_IMAGE_FETCH_DECRYPT_H
#define CRISP_IMAGE_FETCH_DECRYPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/keyring.h"
#include "image/fetch/manifest.h"

#define DECRYPT_WRAPS_MAX 16 /* wrapped forms of one layer's key that are tried */

struct decrypt;

/* Whether the descriptor's media type says that the layer is encrypted. */
bool decrypt_is_needed(const struct descriptor *layer);

/*
 * Unwraps the layer's key. FAILED_PRECONDITION where this node has no key for it, or where its key
 * is wrapped in a form that is not supported, which is named; INVALID_ARGUMENT for annotations that
 * make no sense. keyring may be null: no keys.
 */
int decrypt_new(const struct keyring *keyring, const struct descriptor *layer,
                struct decrypt **decrypt, struct error *err);
void decrypt_free(struct decrypt *decrypt); /* wipes; null is allowed */

/* Decrypts the next length bytes into out, which has room for as many. */
int decrypt_bytes(struct decrypt *decrypt, const void *bytes, size_t length, void *out,
                  struct error *err);

/* After the last byte: DATA_LOSS where the layer is not what was encrypted. */
int decrypt_finish(struct decrypt *decrypt, struct error *err);

static inline void cleanup_decrypt(struct decrypt **decrypt)
{
        decrypt_free(*decrypt);
}
#define AUTO_DECRYPT CLEANUP(cleanup_decrypt)

#endif
