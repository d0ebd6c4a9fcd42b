/*
 * keyring: the private keys with which this node may read encrypted layers.
 *
 * A folder of files, each with one RSA or EC private key in PEM or DER, without passphrase. Read
 * before the process shuts itself in; libcrypto wipes the keys when they are freed.
 */
#ifndef CRISP_IMAGE_FETCH_KEYRING_H
#define CRISP_IMAGE_FETCH_KEYRING_H

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

#define KEYRING_KEYS_MAX 64
#define KEYRING_FILE_MAX (64u << 10) /* bytes */

struct keyring;

/*
 * Reads the folder; one that is not there has no keys. What is not a private key is logged and
 * passed over. Blocks.
 */
int keyring_open(const char *folder, struct keyring **keyring, struct error *err);
void keyring_free(struct keyring *keyring); /* null is allowed */

size_t keyring_count(const struct keyring *keyring); /* null has none */

/* jwe_decrypt (jwe.h) with all keys. May be called from several threads. */
int keyring_unwrap(const struct keyring *keyring, const char *document, size_t length,
                   char **secret, size_t *secret_length, struct error *err);

static inline void cleanup_keyring(struct keyring **keyring)
{
        keyring_free(*keyring);
}
#define AUTO_KEYRING CLEANUP(cleanup_keyring)

#endif
