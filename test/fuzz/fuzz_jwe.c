/* A wrapped key out of a manifest's annotation, against keys of both kinds. */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdint.h>
#include <stdlib.h>

#include "image/fetch/jwe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static EVP_PKEY *keys[2];
        struct error err;
        char *secret;
        size_t length;

        if (!keys[0]) {
                keys[0] = EVP_RSA_gen(1024);
                keys[1] = EVP_EC_gen("P-256");
        }
        if (jwe_decrypt(keys, 2, (const char *)data, size, &secret, &length, &err) == 0)
                free(secret);
        return 0;
}
