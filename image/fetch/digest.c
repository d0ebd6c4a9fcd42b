#include "image/fetch/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct digest {
        EVP_MD_CTX *context;
        const char *prefix;
};

struct digest *digest_new(const char *expected)
{
        bool wide = expected && strncmp(expected, "sha512:", 7) == 0;
        struct digest *digest = xcalloc(1, sizeof(*digest));

        digest->prefix = wide ? "sha512:" : "sha256:";
        digest->context = EVP_MD_CTX_new();
        if (!digest->context ||
            !EVP_DigestInit_ex(digest->context, wide ? EVP_sha512() : EVP_sha256(), NULL))
                abort();
        return digest;
}

void digest_free(struct digest *digest)
{
        if (!digest)
                return;
        EVP_MD_CTX_free(digest->context);
        free(digest);
}

void digest_add(struct digest *digest, const void *bytes, size_t length)
{
        if (!EVP_DigestUpdate(digest->context, bytes, length))
                abort();
}

void digest_finish(struct digest *digest, char out[REFERENCE_DIGEST_MAX + 1])
{
        unsigned char value[EVP_MAX_MD_SIZE];
        unsigned length;

        if (!EVP_DigestFinal_ex(digest->context, value, &length))
                abort();
        size_t at = strlen(digest->prefix);
        memcpy(out, digest->prefix, at);
        for (unsigned i = 0; i < length; i++, at += 2)
                snprintf(out + at, REFERENCE_DIGEST_MAX + 1 - at, "%02x", value[i]);
}

int digest_check(struct digest *digest, const char *expected, struct error *err)
{
        char actual[REFERENCE_DIGEST_MAX + 1];

        digest_finish(digest, actual);
        if (strcmp(actual, expected) == 0)
                return 0;
        return error_set(err, ERROR_DATA_LOSS, "its digest is %s instead of %s", actual, expected);
}

int digest_check_bytes(const void *bytes, size_t length, const char *expected, struct error *err)
{
        AUTO_DIGEST struct digest *digest = digest_new(expected);
        digest_add(digest, bytes, length);
        return digest_check(digest, expected, err);
}
