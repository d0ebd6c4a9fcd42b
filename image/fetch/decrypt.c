#include "image/fetch/decrypt.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "base/memory.h"

#define ENCRYPTED_SUFFIX "+encrypted"
#define KEYS_PREFIX      "org.opencontainers.image.enc.keys."
#define KEYS_JWE         KEYS_PREFIX "jwe"
#define OPTIONS          "org.opencontainers.image.enc.pubopts"
#define CIPHER           "AES_256_CTR_HMAC_SHA256"
#define KEY_BYTES        32
#define NONCE_BYTES      16
#define HMAC_BYTES       32
#define SHOWN_MAX        100

struct decrypt {
        EVP_CIPHER_CTX *cipher;
        EVP_MAC_CTX *mac;
        unsigned char key[KEY_BYTES];
        unsigned char nonce[NONCE_BYTES];
        unsigned char hmac[HMAC_BYTES]; /* that is to come out */
};

bool decrypt_is_needed(const struct descriptor *layer)
{
        size_t length = strlen(layer->media_type), suffix = strlen(ENCRYPTED_SUFFIX);

        return length >= suffix &&
               strcmp(layer->media_type + length - suffix, ENCRYPTED_SUFFIX) == 0;
}

/* ---- what the annotations say ---- */

/* A member in base64 of exactly size bytes. */
static int read_bytes(const json_t *object, const char *key, const char *place, unsigned char *out,
                      size_t size, struct error *err)
{
        const char *text = NULL;
        size_t count = 0;
        int r = json_get_string(object, key, place, &text, err);
        if (r < 0)
                return r;
        unsigned char *bytes = text ? base64_decode(text, strlen(text), &count) : NULL;
        if (bytes && count == size)
                memcpy(out, bytes, size);
        else
                r = error_set(err, ERROR_INVALID_ARGUMENT, "%s: %s: expected %zu bytes in base64",
                              place, key, size);
        if (bytes)
                explicit_bzero(bytes, count);
        free(bytes);
        return r;
}

/* The nonce may be among the public or among the private options. */
static int read_nonce(struct decrypt *decrypt, const json_t *options, const char *place,
                      bool *found, struct error *err)
{
        json_t *list = NULL;
        int r = json_get_object(options, "cipheroptions", place, &list, err);
        if (r < 0 || *found || !json_object_get(list, "nonce"))
                return r;
        *found = true;
        return read_bytes(list, "nonce", place, decrypt->nonce, NONCE_BYTES, err);
}

static int read_public(struct decrypt *decrypt, const char *text, bool *nonce, struct error *err)
{
        static const char place[] = "encryption options";
        AUTO_JSON json_t *options = NULL;
        const char *cipher = "";
        size_t length;
        AUTO_FREE unsigned char *bytes = base64_decode(text, strlen(text), &length);

        if (!bytes)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: not base64", place);
        int r = json_parse((char *)bytes, length, place, &options, err);
        if (r == 0)
                r = json_get_string(options, "cipher", place, &cipher, err);
        if (r < 0)
                return r;
        if (strcmp(cipher, CIPHER) != 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "it is encrypted with \"%.*s\", and only " CIPHER " is supported",
                                 SHOWN_MAX, cipher);
        r = read_bytes(options, "hmac", place, decrypt->hmac, HMAC_BYTES, err);
        return r < 0 ? r : read_nonce(decrypt, options, place, nonce, err);
}

static int read_private(struct decrypt *decrypt, const char *text, size_t length, bool *nonce,
                        struct error *err)
{
        static const char place[] = "wrapped options";
        AUTO_JSON json_t *options = NULL;
        int r = json_parse(text, length, place, &options, err);
        if (r == 0)
                r = read_bytes(options, "symkey", place, decrypt->key, KEY_BYTES, err);
        if (r == 0)
                r = read_nonce(decrypt, options, place, nonce, err);
        /* An error of the parser quotes what it stands on, and that is secret. */
        return r < 0 ? error_set(err, err->code, "the layer's key is not understood") : 0;
}

/* Tries the wrapped forms of the key, which commas divide. */
static int unwrap(const struct keyring *keyring, const char *list, char **secret, size_t *length,
                  struct error *err)
{
        int r = error_set(err, ERROR_INVALID_ARGUMENT, KEYS_JWE " is empty");

        for (int tries = 0; *list; tries++) {
                size_t part = strcspn(list, ","), count;
                if (tries == DECRYPT_WRAPS_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         KEYS_JWE " has more than %d parts", DECRYPT_WRAPS_MAX);
                AUTO_FREE unsigned char *bytes = base64_decode(list, part, &count);
                if (!bytes)
                        return error_set(err, ERROR_INVALID_ARGUMENT, KEYS_JWE ": not base64");
                r = keyring_unwrap(keyring, (char *)bytes, count, secret, length, err);
                if (r == 0)
                        return 0;
                list += part + (list[part] == ',');
        }
        return r;
}

/* No key in a form that we know: says which forms there are. */
static int tell_other_wraps(const struct descriptor *layer, struct error *err)
{
        for (size_t i = 0; i < layer->annotation_count; i++) {
                const char *name = layer->annotations[i].name;
                if (strncmp(name, KEYS_PREFIX, strlen(KEYS_PREFIX)) == 0)
                        return error_set(err, ERROR_FAILED_PRECONDITION,
                                         "it is encrypted, and its key is wrapped as %.*s: only "
                                         "jwe is supported",
                                         SHOWN_MAX, name + strlen(KEYS_PREFIX));
        }
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "it is encrypted, and its manifest has no key for it (" KEYS_JWE ")");
}

static int read_annotations(struct decrypt *decrypt, const struct keyring *keyring,
                            const struct descriptor *layer, struct error *err)
{
        const char *keys = descriptor_annotation(layer, KEYS_JWE);
        const char *options = descriptor_annotation(layer, OPTIONS);
        bool nonce = false;
        char *secret = NULL;
        size_t length = 0;

        if (!keys)
                return tell_other_wraps(layer, err);
        if (keyring_count(keyring) == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "it is encrypted, and this node has no keys: put a private key of "
                                 "one whom it is for into images.decryption_keys_dir");
        int r = read_public(decrypt, options ? options : "", &nonce, err);
        if (r == 0)
                r = unwrap(keyring, keys, &secret, &length, err);
        if (r < 0 || !secret)
                return r;
        r = read_private(decrypt, secret, length, &nonce, err);
        explicit_bzero(secret, length);
        free(secret);
        if (r == 0 && !nonce)
                return error_set(err, ERROR_INVALID_ARGUMENT, "encryption options: no nonce");
        return r;
}

/* ---- bytes ---- */

static EVP_MAC_CTX *new_mac(const unsigned char *key)
{
        char digest[] = "SHA256";
        OSSL_PARAM parameters[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                OSSL_PARAM_construct_end()};
        EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        EVP_MAC_CTX *context = mac ? EVP_MAC_CTX_new(mac) : NULL;

        EVP_MAC_free(mac);
        if (context && EVP_MAC_init(context, key, KEY_BYTES, parameters) == 1)
                return context;
        EVP_MAC_CTX_free(context);
        return NULL;
}

int decrypt_new(const struct keyring *keyring, const struct descriptor *layer,
                struct decrypt **decrypt, struct error *err)
{
        AUTO_DECRYPT struct decrypt *new = xcalloc(1, sizeof(*new));
        int r = read_annotations(new, keyring, layer, err);
        if (r < 0)
                return r;
        new->mac = new_mac(new->key);
        new->cipher = EVP_CIPHER_CTX_new();
        if (!new->mac || !new->cipher ||
            EVP_DecryptInit_ex2(new->cipher, EVP_aes_256_ctr(), new->key, new->nonce, NULL) != 1)
                return error_set(err, ERROR_INTERNAL, "libcrypto does not decrypt");
        *decrypt = take_ptr(new);
        return 0;
}

void decrypt_free(struct decrypt *decrypt)
{
        if (!decrypt)
                return;
        EVP_MAC_CTX_free(decrypt->mac);
        EVP_CIPHER_CTX_free(decrypt->cipher);
        explicit_bzero(decrypt, sizeof(*decrypt));
        free(decrypt);
}

int decrypt_bytes(struct decrypt *decrypt, const void *bytes, size_t length, void *out,
                  struct error *err)
{
        int written;

        if (length > INT_MAX || EVP_MAC_update(decrypt->mac, bytes, length) != 1 ||
            EVP_DecryptUpdate(decrypt->cipher, out, &written, bytes, (int)length) != 1)
                return error_set(err, ERROR_INTERNAL, "libcrypto does not decrypt");
        return 0;
}

int decrypt_finish(struct decrypt *decrypt, struct error *err)
{
        unsigned char hmac[HMAC_BYTES];
        size_t length = 0;

        if (EVP_MAC_final(decrypt->mac, hmac, &length, sizeof(hmac)) != 1)
                return error_set(err, ERROR_INTERNAL, "libcrypto does not make an HMAC");
        if (length != HMAC_BYTES || CRYPTO_memcmp(hmac, decrypt->hmac, HMAC_BYTES) != 0)
                return error_set(err, ERROR_DATA_LOSS,
                                 "the encrypted layer is not the one that its key belongs to "
                                 "(the HMAC is another)");
        return 0;
}
