#include "image/fetch/jwe.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/kdf.h>
#include <openssl/rsa.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/buffer.h"
#include "base/json.h"
#include "base/memory.h"

#define CONTENT_KEY_MAX 32
#define WRAPPED_MAX     2048 /* bytes of a wrapped key: an RSA modulus of 16384 bits */
#define NONCE_BYTES     12
#define TAG_BYTES       16
#define POINT_MAX       (1 + 2 * 66) /* an uncompressed point of P-521 */

/* Some bytes of the document, from its base64. */
struct octets {
        unsigned char *bytes;
        size_t count;
};

static void free_octets(struct octets *octets)
{
        if (octets->bytes)
                explicit_bzero(octets->bytes, octets->count);
        free(octets->bytes);
}

#define AUTO_OCTETS CLEANUP(free_octets)

/* False where the member is missing or not what it should be. */
static bool read_octets(const json_t *object, const char *key, struct octets *octets)
{
        const char *text = json_string_value(json_object_get(object, key));

        if (text)
                octets->bytes = base64_decode_url(text, strlen(text), &octets->count);
        return octets->bytes != NULL;
}

/* ---- the content's key ---- */

static void free_context(EVP_PKEY_CTX **context)
{
        EVP_PKEY_CTX_free(*context);
}

static void free_pkey(EVP_PKEY **key)
{
        EVP_PKEY_free(*key);
}

/* Unwraps into key what must be size bytes long. */
static bool unwrap_rsa(EVP_PKEY *private, const EVP_MD *digest, const struct octets *wrapped,
                       unsigned char *key, size_t size)
{
        CLEANUP(free_context) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(private, NULL);
        unsigned char plain[WRAPPED_MAX];
        size_t length = sizeof(plain);

        if (!context || EVP_PKEY_get_base_id(private) != EVP_PKEY_RSA ||
            EVP_PKEY_get_size(private) > WRAPPED_MAX || EVP_PKEY_decrypt_init(context) != 1 ||
            EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) != 1 ||
            EVP_PKEY_CTX_set_rsa_oaep_md(context, digest) != 1 ||
            EVP_PKEY_CTX_set_rsa_mgf1_md(context, digest) != 1)
                return false;
        bool done =
                EVP_PKEY_decrypt(context, plain, &length, wrapped->bytes, wrapped->count) == 1 &&
                length == size;
        if (done)
                memcpy(key, plain, size);
        explicit_bzero(plain, sizeof(plain));
        return done;
}

/* The sender's point, on the curve of our key. */
static EVP_PKEY *read_peer(EVP_PKEY *private, const json_t *header)
{
        const json_t *point = json_object_get(header, "epk");
        AUTO_OCTETS struct octets x = {0}, y = {0};
        unsigned char bytes[POINT_MAX];
        size_t width = ((size_t)EVP_PKEY_get_bits(private) + 7) / 8;

        if (!read_octets(point, "x", &x) || !read_octets(point, "y", &y) || x.count != width ||
            y.count != width || 1 + 2 * width > sizeof(bytes))
                return NULL;
        bytes[0] = POINT_CONVERSION_UNCOMPRESSED;
        memcpy(bytes + 1, x.bytes, width);
        memcpy(bytes + 1 + width, y.bytes, width);

        /* libcrypto checks that it lies on the curve. */
        CLEANUP(free_pkey) EVP_PKEY *peer = EVP_PKEY_new();
        if (!peer || EVP_PKEY_copy_parameters(peer, private) != 1 ||
            EVP_PKEY_set1_encoded_public_key(peer, bytes, 1 + 2 * width) != 1)
                return NULL;
        return take_ptr(peer);
}

static void add_length(struct buffer *info, size_t length)
{
        unsigned char bytes[4] = {(unsigned char)(length >> 24), (unsigned char)(length >> 16),
                                  (unsigned char)(length >> 8), (unsigned char)length};
        buffer_add(info, bytes, sizeof(bytes));
}

/* RFC 7518, section 4.6.2: the algorithm's name, what the two parties said, and the key's bits. */
static void make_info(struct buffer *info, const char *algorithm, const struct octets *sender,
                      const struct octets *recipient, size_t size)
{
        add_length(info, strlen(algorithm));
        buffer_add_text(info, algorithm);
        add_length(info, sender->count);
        buffer_add(info, sender->bytes ? (char *)sender->bytes : "", sender->count);
        add_length(info, recipient->count);
        buffer_add(info, recipient->bytes ? (char *)recipient->bytes : "", recipient->count);
        add_length(info, size * 8);
}

static bool derive(const unsigned char *shared, size_t shared_length, struct buffer *info,
                   unsigned char *key, size_t size)
{
        char digest[] = "SHA256";
        OSSL_PARAM parameters[] = {
                OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)shared,
                                                  shared_length),
                OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info->data, info->length),
                OSSL_PARAM_construct_end()};
        EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SSKDF", NULL);
        EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
        bool done = context && EVP_KDF_derive(context, key, size, parameters) == 1;

        EVP_KDF_CTX_free(context);
        EVP_KDF_free(kdf);
        return done;
}

/* AES key unwrap (RFC 3394). */
static bool unwrap_aes(const EVP_CIPHER *cipher, const unsigned char *wrapping,
                       const struct octets *wrapped, unsigned char *key, size_t size)
{
        unsigned char plain[CONTENT_KEY_MAX + 16];
        int length = 0;

        if (wrapped->count != size + 8)
                return false;
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        if (context)
                EVP_CIPHER_CTX_set_flags(context, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
        bool done = context && EVP_DecryptInit_ex2(context, cipher, wrapping, NULL, NULL) == 1 &&
                    EVP_DecryptUpdate(context, plain, &length, wrapped->bytes,
                                      (int)wrapped->count) == 1 &&
                    length == (int)size;
        if (done)
                memcpy(key, plain, size);
        EVP_CIPHER_CTX_free(context);
        explicit_bzero(plain, sizeof(plain));
        return done;
}

static bool unwrap_ecdh(EVP_PKEY *private, const json_t *header, const char *algorithm,
                        const EVP_CIPHER *cipher, const struct octets *wrapped, unsigned char *key,
                        size_t size)
{
        if (EVP_PKEY_get_base_id(private) != EVP_PKEY_EC)
                return false;
        CLEANUP(free_pkey) EVP_PKEY *peer = read_peer(private, header);
        CLEANUP(free_context) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(private, NULL);
        AUTO_OCTETS struct octets sender = {0}, recipient = {0};
        AUTO_BUFFER struct buffer info = BUFFER_INIT;
        unsigned char shared[POINT_MAX], wrapping[CONTENT_KEY_MAX];
        size_t length = sizeof(shared), width = (size_t)EVP_CIPHER_get_key_length(cipher);

        if (!peer || !context || EVP_PKEY_derive_init(context) != 1 ||
            EVP_PKEY_derive_set_peer(context, peer) != 1 ||
            EVP_PKEY_derive(context, shared, &length) != 1)
                return false;
        read_octets(header, "apu", &sender);
        read_octets(header, "apv", &recipient);
        make_info(&info, algorithm, &sender, &recipient, width);
        bool done = derive(shared, length, &info, wrapping, width) &&
                    unwrap_aes(cipher, wrapping, wrapped, key, size);
        explicit_bzero(shared, sizeof(shared));
        explicit_bzero(wrapping, sizeof(wrapping));
        return done;
}

static bool unwrap_key(EVP_PKEY *private, const json_t *header, const struct octets *wrapped,
                       unsigned char *key, size_t size)
{
        const char *algorithm = json_string_value(json_object_get(header, "alg"));

        if (!algorithm)
                return false;
        if (strcmp(algorithm, "RSA-OAEP") == 0)
                return unwrap_rsa(private, EVP_sha1(), wrapped, key, size);
        if (strcmp(algorithm, "RSA-OAEP-256") == 0)
                return unwrap_rsa(private, EVP_sha256(), wrapped, key, size);

        const EVP_CIPHER *cipher = strcmp(algorithm, "ECDH-ES+A128KW") == 0   ? EVP_aes_128_wrap()
                                   : strcmp(algorithm, "ECDH-ES+A192KW") == 0 ? EVP_aes_192_wrap()
                                   : strcmp(algorithm, "ECDH-ES+A256KW") == 0 ? EVP_aes_256_wrap()
                                                                              : NULL;
        return cipher && unwrap_ecdh(private, header, algorithm, cipher, wrapped, key, size);
}

/* ---- the content ---- */

struct content {
        const EVP_CIPHER *cipher;
        struct octets nonce, bytes, tag;
        struct buffer authenticated;
};

static void content_fini(struct content *content)
{
        free_octets(&content->nonce);
        free_octets(&content->bytes);
        free_octets(&content->tag);
        buffer_fini(&content->authenticated);
}

static bool decrypt_content(const struct content *content, const unsigned char *key,
                            struct octets *plain)
{
        EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
        unsigned char *out = xcalloc(1, content->bytes.count + 1);
        int length;
        bool done = context &&
                    EVP_DecryptInit_ex2(context, content->cipher, key, content->nonce.bytes,
                                        NULL) == 1 &&
                    EVP_DecryptUpdate(context, NULL, &length,
                                      (unsigned char *)content->authenticated.data,
                                      (int)content->authenticated.length) == 1 &&
                    EVP_DecryptUpdate(context, out, &length, content->bytes.bytes,
                                      (int)content->bytes.count) == 1 &&
                    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES,
                                        content->tag.bytes) == 1 &&
                    EVP_DecryptFinal_ex(context, out + length, &length) == 1;

        EVP_CIPHER_CTX_free(context);
        *plain = (struct octets){out, content->bytes.count};
        if (!done) {
                free_octets(plain);
                *plain = (struct octets){0};
        }
        return done;
}

/* ---- the document ---- */

/* The members of all headers together: a name stands in one of them alone. */
static json_t *join_headers(const json_t *protected, const json_t *document,
                            const json_t *recipient)
{
        const json_t *headers[] = {protected, json_object_get(document, "unprotected"),
                                   json_object_get(recipient, "header")};
        json_t *joined = json_object();

        for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
                const char *name;
                json_t *value;
                if (headers[i] && !json_is_object(headers[i]))
                        goto refused;
                json_object_foreach ((json_t *)(uintptr_t)headers[i], name, value) {
                        if (json_object_get(joined, name))
                                goto refused;
                        json_object_set(joined, name, value);
                }
        }
        /* Compressed content has no bound, and what is critical we do not know. */
        if (!json_object_get(joined, "zip") && !json_object_get(joined, "crit"))
                return joined;
refused:
        json_decref(joined);
        return NULL;
}

static const EVP_CIPHER *content_cipher(const json_t *header)
{
        const char *name = json_string_value(json_object_get(header, "enc"));

        if (!name)
                return NULL;
        return strcmp(name, "A256GCM") == 0   ? EVP_aes_256_gcm()
               : strcmp(name, "A192GCM") == 0 ? EVP_aes_192_gcm()
               : strcmp(name, "A128GCM") == 0 ? EVP_aes_128_gcm()
                                              : NULL;
}

/* Tries all keys for one recipient. */
static bool decrypt_for(EVP_PKEY *const *keys, size_t count, const json_t *header,
                        const json_t *recipient, struct content *content, struct octets *plain)
{
        AUTO_OCTETS struct octets wrapped = {0};
        unsigned char key[CONTENT_KEY_MAX];
        bool done = false;

        content->cipher = content_cipher(header);
        if (!content->cipher || !read_octets(recipient, "encrypted_key", &wrapped) ||
            wrapped.count > WRAPPED_MAX)
                return false;
        for (size_t i = 0; !done && i < count; i++)
                done = unwrap_key(keys[i], header, &wrapped, key,
                                  (size_t)EVP_CIPHER_get_key_length(content->cipher)) &&
                       decrypt_content(content, key, plain);
        explicit_bzero(key, sizeof(key));
        return done;
}

static int read_content(const json_t *document, struct content *content, json_t **protected,
                        struct error *err)
{
        const char *head = json_string_value(json_object_get(document, "protected"));
        const char *more = json_string_value(json_object_get(document, "aad"));

        if (!read_octets(document, "iv", &content->nonce) ||
            !read_octets(document, "ciphertext", &content->bytes) ||
            !read_octets(document, "tag", &content->tag) || content->nonce.count != NONCE_BYTES ||
            content->tag.count != TAG_BYTES)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "wrapped key: iv, ciphertext and tag of AES-GCM are missing");
        buffer_add_text(&content->authenticated, head ? head : "");
        if (more)
                buffer_printf(&content->authenticated, ".%s", more);
        if (!head || !head[0])
                return 0;

        AUTO_OCTETS struct octets text = {0};
        if (!read_octets(document, "protected", &text))
                return error_set(err, ERROR_INVALID_ARGUMENT, "wrapped key: protected: not base64");
        return json_parse((char *)text.bytes, text.count, "wrapped key: protected", protected, err);
}

int jwe_decrypt(EVP_PKEY *const *keys, size_t count, const char *document, size_t length,
                char **secret, size_t *secret_length, struct error *err)
{
        AUTO_JSON json_t *object = NULL, *protected = NULL;
        CLEANUP(content_fini) struct content content = {.authenticated = BUFFER_INIT};
        json_t *recipients = NULL;

        if (length > JWE_BYTES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "wrapped key: more than %u bytes",
                                 JWE_BYTES_MAX);
        int r = json_parse(document, length, "wrapped key", &object, err);
        if (r == 0)
                r = json_get_array(object, "recipients", "wrapped key", &recipients, err);
        if (r == 0)
                r = read_content(object, &content, &protected, err);
        if (r < 0)
                return r;

        /* Without a list the document is its only recipient. */
        size_t recipient_count = recipients ? json_array_size(recipients) : 1;
        if (recipient_count > JWE_RECIPIENTS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "wrapped key: more than %d recipients", JWE_RECIPIENTS_MAX);
        for (size_t i = 0; i < recipient_count; i++) {
                const json_t *recipient = recipients ? json_array_get(recipients, i) : object;
                AUTO_JSON json_t *header = join_headers(protected, object, recipient);
                struct octets plain;
                if (header && decrypt_for(keys, count, header, recipient, &content, &plain)) {
                        *secret = (char *)plain.bytes;
                        *secret_length = plain.count;
                        return 0;
                }
        }
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "it is encrypted for others: none of this node's %zu keys fits", count);
}
