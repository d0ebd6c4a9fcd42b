/* Encrypted layers: keys in a folder, keys wrapped for others, and layers that were changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/fetch/decrypt.h"

#define PLAIN "what is in the layer, some bytes more than one block of the cipher"

struct fixture {
        char folder[64];
        char *keys, *options; /* of the layer that was encrypted last */
        unsigned char encrypted[sizeof(PLAIN)];
};

static int set_up(void **state)
{
        struct fixture *fixture = xcalloc(1, sizeof(*fixture));
        log_set_level(LOG_LEVEL_ERROR);
        snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/crisp-test-decrypt-XXXXXX");
        assert_non_null(mkdtemp(fixture->folder));
        *state = fixture;
        return 0;
}

static int tear_down(void **state)
{
        struct fixture *fixture = *state;
        assert_int_equal(file_remove_tree(fixture->folder, NULL), 0);
        free(fixture->keys);
        free(fixture->options);
        free(fixture);
        return 0;
}

static void write_key(struct fixture *fixture, const char *name, EVP_PKEY *key, bool pem)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", fixture->folder, name);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        if (pem)
                assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
        else
                assert_int_equal(i2d_PrivateKey_fp(file, key), 1);
        assert_int_equal(fclose(file), 0);
}

/* Bytes as JOSE writes them. */
static json_t *octets(const void *bytes, size_t length)
{
        AUTO_FREE char *text = base64_encode(bytes, length);
        for (char *c = text; *c; c++)
                *c = *c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? '\0' : *c;
        return json_string(text);
}

static json_t *wrap_key(EVP_PKEY *key, const EVP_MD *digest, const unsigned char content_key[32])
{
        unsigned char wrapped[512];
        size_t length = sizeof(wrapped);
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);

        assert_int_equal(EVP_PKEY_encrypt_init(context), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(context, digest), 1);
        assert_int_equal(EVP_PKEY_encrypt(context, wrapped, &length, content_key, 32), 1);
        EVP_PKEY_CTX_free(context);
        return octets(wrapped, length);
}

/* Wraps secret for the keys by alg, as a JWE in base64. */
static char *wrap(EVP_PKEY *const *keys, size_t count, const char *alg, const char *secret)
{
        const EVP_MD *digest = strcmp(alg, "RSA-OAEP") == 0 ? EVP_sha1() : EVP_sha256();
        unsigned char key[32], nonce[12], tag[16], out[512];
        AUTO_JSON json_t *protected = octets("{\"enc\":\"A256GCM\"}", 17);
        const char *head = json_string_value(protected);
        EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
        int length;

        RAND_bytes(key, sizeof(key));
        RAND_bytes(nonce, sizeof(nonce));
        assert_int_equal(EVP_EncryptInit_ex2(cipher, EVP_aes_256_gcm(), key, nonce, NULL), 1);
        EVP_EncryptUpdate(cipher, NULL, &length, (const unsigned char *)head, (int)strlen(head));
        EVP_EncryptUpdate(cipher, out, &length, (const unsigned char *)secret, (int)strlen(secret));
        assert_int_equal(EVP_EncryptFinal_ex(cipher, out, &(int){0}), 1);
        EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, sizeof(tag), tag);
        EVP_CIPHER_CTX_free(cipher);

        AUTO_JSON json_t *jwe = json_object();
        json_object_set(jwe, "protected", protected);
        json_object_set_new(jwe, "iv", octets(nonce, sizeof(nonce)));
        json_object_set_new(jwe, "ciphertext", octets(out, (size_t)length));
        json_object_set_new(jwe, "tag", octets(tag, sizeof(tag)));
        json_t *recipients = json_array();
        for (size_t i = 0; i < count; i++) {
                json_t *recipient = count > 1 ? json_object() : json_incref(jwe);
                json_object_set_new(recipient, "header", json_pack("{s:s}", "alg", alg));
                json_object_set_new(recipient, "encrypted_key", wrap_key(keys[i], digest, key));
                json_array_append_new(recipients, recipient);
        }
        if (count > 1)
                json_object_set(jwe, "recipients", recipients);
        char *text = json_dumps(jwe, 0);
        char *encoded = base64_encode(text, strlen(text));
        free(text);
        json_array_clear(recipients);
        json_decref(recipients);
        return encoded;
}

static void encrypt(struct fixture *fixture, EVP_PKEY *const *keys, size_t count, const char *alg)
{
        unsigned char key[32], nonce[16], hmac[32];
        int written;

        RAND_bytes(key, sizeof(key));
        RAND_bytes(nonce, sizeof(nonce));
        EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
        assert_int_equal(EVP_EncryptInit_ex2(cipher, EVP_aes_256_ctr(), key, nonce, NULL), 1);
        assert_int_equal(EVP_EncryptUpdate(cipher, fixture->encrypted, &written,
                                           (const unsigned char *)PLAIN, sizeof(PLAIN)),
                         1);
        EVP_CIPHER_CTX_free(cipher);
        HMAC(EVP_sha256(), key, sizeof(key), fixture->encrypted, sizeof(PLAIN), hmac, NULL);

        AUTO_FREE char *key_text = base64_encode(key, sizeof(key));
        AUTO_FREE char *nonce_text = base64_encode(nonce, sizeof(nonce));
        AUTO_FREE char *hmac_text = base64_encode(hmac, sizeof(hmac));
        AUTO_FREE char *secret =
                xprintf("{\"symkey\":\"%s\",\"digest\":\"\",\"cipheroptions\":{\"nonce\":\"%s\"}}",
                        key_text, nonce_text);
        AUTO_FREE char *options = xprintf(
                "{\"cipher\":\"AES_256_CTR_HMAC_SHA256\",\"hmac\":\"%s\",\"cipheroptions\":{}}",
                hmac_text);
        free(fixture->keys);
        free(fixture->options);
        fixture->keys = wrap(keys, count, alg, secret);
        fixture->options = base64_encode(options, strlen(options));
}

/* Decrypts what was encrypted, with the keys of the folder and in two parts. */
static int decrypt(struct fixture *fixture, struct error *err)
{
        const struct annotation annotations[] = {
                {"org.opencontainers.image.enc.keys.jwe", fixture->keys},
                {"org.opencontainers.image.enc.pubopts", fixture->options}};
        const struct descriptor layer = {
                .media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                .annotations = annotations,
                .annotation_count = 2};
        AUTO_KEYRING struct keyring *keyring = NULL;
        AUTO_DECRYPT struct decrypt *decrypt = NULL;
        char out[sizeof(PLAIN)];

        assert_true(decrypt_is_needed(&layer));
        assert_int_equal(keyring_open(fixture->folder, &keyring, err), 0);
        int r = decrypt_new(keyring, &layer, &decrypt, err);
        if (r < 0)
                return r;
        assert_int_equal(decrypt_bytes(decrypt, fixture->encrypted, 5, out, err), 0);
        assert_int_equal(
                decrypt_bytes(decrypt, fixture->encrypted + 5, sizeof(PLAIN) - 5, out + 5, err), 0);
        r = decrypt_finish(decrypt, err);
        if (r == 0)
                assert_string_equal(out, PLAIN);
        return r;
}

static void test_rsa(void **state)
{
        struct error err;
        EVP_PKEY *ours = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);

        write_key(*state, "other.pem", other, true);
        write_key(*state, "ours.der", ours, false);
        encrypt(*state, &ours, 1, "RSA-OAEP");
        assert_int_equal(decrypt(*state, &err), 0);
        encrypt(*state, &ours, 1, "RSA-OAEP-256");
        assert_int_equal(decrypt(*state, &err), 0);
        EVP_PKEY_free(ours);
        EVP_PKEY_free(other);
}

/* A layer may be for several, and of several files in the folder some may be no keys. */
static void test_several_recipients(void **state)
{
        struct fixture *fixture = *state;
        struct error err;
        EVP_PKEY *keys[] = {EVP_RSA_gen(2048), EVP_RSA_gen(2048)};
        AUTO_FREE char *path = xprintf("%s/README", fixture->folder);
        AUTO_FREE char *folder = xprintf("%s/folder", fixture->folder);
        AUTO_FREE char *pipe = xprintf("%s/pipe", fixture->folder);

        assert_int_equal(file_replace(path, "no key", 6, 0600, NULL), 0);
        assert_int_equal(mkdir(folder, 0700), 0);
        assert_int_equal(mkfifo(pipe, 0600), 0);
        write_key(fixture, "second.pem", keys[1], true);
        encrypt(fixture, keys, 2, "RSA-OAEP");
        assert_int_equal(decrypt(fixture, &err), 0);
        EVP_PKEY_free(keys[0]);
        EVP_PKEY_free(keys[1]);
}

static void test_no_key(void **state)
{
        struct fixture *fixture = *state;
        struct error err;
        EVP_PKEY *ours = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048);

        encrypt(fixture, &other, 1, "RSA-OAEP");
        assert_true(decrypt(fixture, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, "images.decryption_keys_dir"));

        write_key(fixture, "ours.pem", ours, true);
        assert_true(decrypt(fixture, &err) < 0);
        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
        assert_non_null(strstr(err.message, "none of this node's 1 keys fits"));
        EVP_PKEY_free(ours);
        EVP_PKEY_free(other);
}

static void test_changed_layer(void **state)
{
        struct fixture *fixture = *state;
        struct error err;
        EVP_PKEY *ours = EVP_RSA_gen(2048);

        write_key(fixture, "ours.pem", ours, true);
        encrypt(fixture, &ours, 1, "RSA-OAEP");
        fixture->encrypted[20] ^= 1;
        assert_true(decrypt(fixture, &err) < 0);
        assert_int_equal(err.code, ERROR_DATA_LOSS);
        EVP_PKEY_free(ours);
}

/* Compression, which has no bound; what is critical and unknown; a header that says a thing twice.
 */
static void test_refused_headers(void **state)
{
        struct fixture *fixture = *state;
        static const char *const MEMBERS[] = {NULL, "zip", "crit", "enc"};
        EVP_PKEY *ours = EVP_RSA_gen(2048);
        AUTO_KEYRING struct keyring *keyring = NULL;
        AUTO_FREE char *encoded = wrap(&ours, 1, "RSA-OAEP", "secret");
        size_t size;
        AUTO_FREE unsigned char *text = base64_decode(encoded, strlen(encoded), &size);

        write_key(fixture, "ours.pem", ours, true);
        assert_int_equal(keyring_open(fixture->folder, &keyring, NULL), 0);
        for (size_t i = 0; i < sizeof(MEMBERS) / sizeof(MEMBERS[0]); i++) {
                struct error err = {0};
                char *secret = NULL;
                size_t length;
                AUTO_JSON json_t *jwe = json_loadb((char *)text, size, 0, NULL);
                if (MEMBERS[i])
                        json_object_set_new(json_object_get(jwe, "header"), MEMBERS[i],
                                            json_string("A256GCM"));
                AUTO_FREE char *document = json_dumps(jwe, 0);
                int r = keyring_unwrap(keyring, document, strlen(document), &secret, &length, &err);
                if (!MEMBERS[i]) {
                        assert_int_equal(r, 0);
                        assert_string_equal(secret, "secret");
                } else {
                        assert_true(r < 0);
                        assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
                }
                free(secret);
        }
        EVP_PKEY_free(ours);
}

static void expect_refusal(const struct annotation *annotations, size_t count, const char *words)
{
        const struct descriptor layer = {
                .media_type = "x+encrypted", .annotations = annotations, .annotation_count = count};
        struct decrypt *decrypt = NULL;
        struct error err = {0};

        assert_true(decrypt_new(NULL, &layer, &decrypt, &err) < 0);
        assert_non_null(strstr(err.message, words));
}

static void test_other_wraps(void **state)
{
        const struct annotation pgp[] = {{"org.opencontainers.image.enc.keys.pgp", "AAAA"}};

        expect_refusal(pgp, 1, "wrapped as pgp");
        expect_refusal(NULL, 0, "has no key");
        assert_false(decrypt_is_needed(&(struct descriptor){.media_type = "x+gzip"}));
}

static void test_base64(void **state)
{
        size_t count;
        AUTO_FREE unsigned char *bytes = base64_decode("YWI=", 4, &count);

        assert_int_equal(count, 2);
        assert_string_equal((char *)bytes, "ab");
        assert_null(base64_decode("YWI", 3, &count));
        assert_null(base64_decode("YW=I", 4, &count));
        assert_null(base64_decode("YWI\n", 4, &count));
        AUTO_FREE char *text = base64_encode("ab", 2);
        assert_string_equal(text, "YWI=");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(test_rsa),           TEST(test_several_recipients), TEST(test_no_key),
                TEST(test_changed_layer), TEST(test_refused_headers),    TEST(test_other_wraps),
                TEST(test_base64),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
