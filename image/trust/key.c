#include "image/trust/key.h"

#include <ctype.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

static bool is_supported(EVP_PKEY *key)
{
        switch (EVP_PKEY_get_base_id(key)) {
        case EVP_PKEY_EC:
        case EVP_PKEY_ED25519:
                return true;
        case EVP_PKEY_RSA:
                return EVP_PKEY_get_bits(key) >= KEY_RSA_BITS_MIN;
        default:
                return false;
        }
}

int key_read(const struct policy_key *text, EVP_PKEY **key, struct error *err)
{
        BIO *bio = BIO_new_mem_buf(text->bytes, (int)text->length);
        AUTO_KEY EVP_PKEY *read = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        BIO_free(bio);
        ERR_clear_error();
        if (!read)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the policy's key is no public key in PEM");
        if (!is_supported(read))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the policy's key is of a kind that is not supported: expected "
                                 "ECDSA, Ed25519 or RSA with %d bits or more",
                                 KEY_RSA_BITS_MIN);
        *key = take_ptr(read);
        return 0;
}

bool key_verifies(EVP_PKEY *key, const char *bytes, size_t length, const struct buffer *signature)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        const EVP_MD *digest = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
        bool good = is_supported(key) && signature->length > 0 &&
                    EVP_DigestVerifyInit(context, NULL, digest, NULL, key) == 1 &&
                    EVP_DigestVerify(context, (const unsigned char *)signature->data,
                                     signature->length, (const unsigned char *)bytes, length) == 1;
        EVP_MD_CTX_free(context);
        ERR_clear_error();
        return good;
}

bool key_pem_is(const struct buffer *pem, const unsigned char *der, size_t length)
{
        char *name = NULL, *header = NULL;
        unsigned char *data = NULL;
        long size = 0;
        char rest;
        BIO *bio = BIO_new_mem_buf(pem->data ? pem->data : "", (int)pem->length);
        bool is = PEM_read_bio(bio, &name, &header, &data, &size) == 1 && (size_t)size == length &&
                  memcmp(data, der, length) == 0;

        while (is && BIO_read(bio, &rest, 1) == 1)
                is = isspace((unsigned char)rest);
        BIO_free(bio);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
        ERR_clear_error();
        return is;
}
