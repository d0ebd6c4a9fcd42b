#include "image/fetch/keyring.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/fetch/jwe.h"

struct keyring {
        EVP_PKEY *keys[KEYRING_KEYS_MAX];
        size_t count;
};

static void close_directory(DIR **directory)
{
        if (*directory)
                closedir(*directory);
}

/* ---- the folder ---- */

/* A key with a passphrase is one that we cannot use. */
static int no_passphrase(char *out, int size, int writing, void *argument)
{
        return -1;
}

static EVP_PKEY *parse_key(const struct buffer *bytes)
{
        const unsigned char *der = (const unsigned char *)bytes->data;
        BIO *pem = BIO_new_mem_buf(bytes->data, (int)bytes->length);
        EVP_PKEY *key = pem ? PEM_read_bio_PrivateKey(pem, NULL, no_passphrase, NULL) : NULL;

        BIO_free(pem);
        return key ? key : d2i_AutoPrivateKey(NULL, &der, (long)bytes->length);
}

static int read_key(const char *path, EVP_PKEY **key, struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        int r = file_read(path, KEYRING_FILE_MAX, &bytes, err);
        if (r < 0)
                return r;

        EVP_PKEY *found = parse_key(&bytes);
        explicit_bzero(bytes.data, bytes.capacity);
        int kind = found ? EVP_PKEY_get_base_id(found) : EVP_PKEY_NONE;
        if (kind != EVP_PKEY_RSA && kind != EVP_PKEY_EC) {
                EVP_PKEY_free(found);
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: not an RSA or EC private key without passphrase", path);
        }
        *key = found;
        return 0;
}

int keyring_open(const char *folder, struct keyring **keyring, struct error *err)
{
        AUTO_KEYRING struct keyring *new = xcalloc(1, sizeof(*new));
        CLEANUP(close_directory) DIR *directory = opendir(folder);
        struct dirent *entry;

        if (!directory && errno != ENOENT)
                return error_errno(err, errno, "decryption keys: open %s", folder);
        while (directory && (entry = readdir(directory))) {
                AUTO_FREE char *path = xprintf("%s/%s", folder, entry->d_name);
                struct error why;

                /* A pipe would be waited for. */
                if (entry->d_name[0] == '.' || entry->d_type == DT_DIR || entry->d_type == DT_FIFO)
                        continue;
                if (new->count == KEYRING_KEYS_MAX)
                        return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                         "decryption keys: %s has more than %d files", folder,
                                         KEYRING_KEYS_MAX);
                if (read_key(path, &new->keys[new->count], &why) == 0)
                        new->count++;
                else
                        log_warning("a decryption key is passed over", "why", why.message, NULL);
        }
        *keyring = take_ptr(new);
        return 0;
}

void keyring_free(struct keyring *keyring)
{
        if (!keyring)
                return;
        for (size_t i = 0; i < keyring->count; i++)
                EVP_PKEY_free(keyring->keys[i]);
        free(keyring);
}

size_t keyring_count(const struct keyring *keyring)
{
        return keyring ? keyring->count : 0;
}

int keyring_unwrap(const struct keyring *keyring, const char *document, size_t length,
                   char **secret, size_t *secret_length, struct error *err)
{
        return jwe_decrypt(keyring->keys, keyring->count, document, length, secret, secret_length,
                           err);
}
