/* sigstore's signatures, with keys, certificates and a transparency log made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "base/arena.h"
#include "base/base64.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "image/trust/payload.h"
#include "image/trust/verify.h"

#define HEX32  "0123456789abcdef0123456789abcdef"
#define OTHER  "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define DIGEST "sha256:" HEX32 HEX32
#define NAME   "registry.example/team/app:1"
#define ISSUER "https://issuer.example"
#define EMAIL  "someone@example.org"
#define DAY    86400

static struct arena *arena;
static EVP_PKEY *signer, *stranger, *log_key, *authority;

static int set_up(void **state)
{
        arena = arena_new();
        signer = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        stranger = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        log_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        authority = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384");
        return signer && stranger && log_key && authority ? 0 : -1;
}

static int tear_down(void **state)
{
        EVP_PKEY_free(signer);
        EVP_PKEY_free(stranger);
        EVP_PKEY_free(log_key);
        EVP_PKEY_free(authority);
        arena_free(arena);
        return 0;
}

/* ---- making ---- */

static char *pem_of(BIO *bio)
{
        char *data;
        long length = BIO_get_mem_data(bio, &data);
        char *text = arena_strndup(arena, data, (size_t)length);
        BIO_free(bio);
        return text;
}

static char *public_pem(EVP_PKEY *key)
{
        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
        return pem_of(bio);
}

static struct policy_keys keys_of(const char *first, const char *second)
{
        struct policy_key *list = arena_array(arena, 2, sizeof(*list));
        list[0] = (struct policy_key){first, strlen(first)};
        if (second)
                list[1] = (struct policy_key){second, strlen(second)};
        return (struct policy_keys){.list = list, .count = second ? 2 : 1};
}

static char *payload_text(const char *digest, const char *name)
{
        return arena_printf(
                arena,
                "{\"critical\":{\"identity\":{\"docker-reference\":\"%s\"},\"image\":{"
                "\"docker-manifest-digest\":\"%s\"},\"type\":\"%s\"},\"optional\":null}",
                name, digest, PAYLOAD_SIGSTORE);
}

static char *to_base64(const void *bytes, size_t length)
{
        char *text = base64_encode(bytes, length);
        char *copy = arena_strdup(arena, text);
        free(text);
        return copy;
}

static char *sign(EVP_PKEY *key, const char *text)
{
        unsigned char bytes[1024];
        size_t length = sizeof(bytes);
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        const EVP_MD *digest = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();
        assert_int_equal(EVP_DigestSignInit(context, NULL, digest, NULL, key), 1);
        assert_int_equal(
                EVP_DigestSign(context, bytes, &length, (const unsigned char *)text, strlen(text)),
                1);
        EVP_MD_CTX_free(context);
        return to_base64(bytes, length);
}

static struct signature signature_by(EVP_PKEY *key, const char *payload)
{
        return (struct signature){.kind = SIGNATURE_SIGSTORE,
                                  .source = "here",
                                  .bytes = payload,
                                  .length = strlen(payload),
                                  .base64 = sign(key, payload)};
}

/* The log's promise about a signature by what pem says. */
static char *promise(EVP_PKEY *log, const struct signature *signature, const char *pem,
                     int64_t when)
{
        char hex[SHA256_HEX + 1];
        sha256_hex(signature->bytes, signature->length, hex);
        char *body = arena_printf(
                arena,
                "{\"apiVersion\":\"0.0.1\",\"kind\":\"hashedrekord\",\"spec\":{\"data\":{\"hash\":{"
                "\"algorithm\":\"sha256\",\"value\":\"%s\"}},\"signature\":{\"content\":\"%s\","
                "\"publicKey\":{\"content\":\"%s\"}}}}",
                hex, signature->base64, to_base64(pem, strlen(pem)));
        char *body64 = to_base64(body, strlen(body));
        char *signed_text =
                arena_printf(arena,
                             "{\"body\":\"%s\",\"integratedTime\":%lld,\"logID\":\"c0ffee\","
                             "\"logIndex\":7}",
                             body64, (long long)when);
        /* As it travels, its members are in any order. */
        return arena_printf(arena,
                            "{\"SignedEntryTimestamp\":\"%s\", \"Payload\": {\"logIndex\": 7, "
                            "\"logID\": \"c0ffee\", \"integratedTime\": %lld, \"body\": \"%s\"}}",
                            sign(log, signed_text), (long long)when, body64);
}

struct names {
        const char *email, *issuer, *issuer_v2, *usage;
        int64_t from, until; /* seconds from now */
};

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
        X509V3_CTX context;
        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        assert_non_null(extension);
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
}

static void add_raw(X509 *certificate, const char *oid, const char *bytes, size_t length)
{
        ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
        ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
        ASN1_OCTET_STRING_set(data, (const unsigned char *)bytes, (int)length);
        X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, 0, data);
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
        ASN1_OCTET_STRING_free(data);
        ASN1_OBJECT_free(object);
}

static X509 *certify(EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, const struct names *names)
{
        X509 *certificate = X509_new();
        X509_NAME *name = X509_get_subject_name(certificate);
        X509_set_version(certificate, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), issuer ? 2 : 1);
        X509_gmtime_adj(X509_getm_notBefore(certificate), names ? (long)names->from : -9 * DAY);
        X509_gmtime_adj(X509_getm_notAfter(certificate), names ? (long)names->until : 9 * DAY);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                   (const unsigned char *)(issuer ? "leaf" : "authority"), -1, -1,
                                   0);
        X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : name);
        X509_set_pubkey(certificate, key);
        if (!names)
                add_extension(certificate, issuer ? issuer : certificate, NID_basic_constraints,
                              "critical,CA:TRUE");
        if (names && names->usage)
                add_extension(certificate, issuer, NID_ext_key_usage, names->usage);
        if (names && names->email)
                add_extension(certificate, issuer, NID_subject_alt_name, names->email);
        if (names && names->issuer)
                add_raw(certificate, "1.3.6.1.4.1.57264.1.1", names->issuer, strlen(names->issuer));
        if (names && names->issuer_v2) {
                char *text = arena_printf(arena, "\x0c%c%s", (char)strlen(names->issuer_v2),
                                          names->issuer_v2);
                add_raw(certificate, "1.3.6.1.4.1.57264.1.8", text, strlen(text));
        }
        assert_true(X509_sign(certificate, issuer_key, EVP_sha256()) > 0);
        return certificate;
}

static char *certificate_pem(X509 *certificate)
{
        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
        return pem_of(bio);
}

/* ---- asking ---- */

static struct policy_requirement requirement_of(EVP_PKEY *key)
{
        return (struct policy_requirement){.kind = POLICY_SIGSTORE_SIGNED,
                                           .place = "default[0]",
                                           .keys = keys_of(public_pem(key), NULL)};
}

static int verify(const struct policy_requirement *requirement, const struct signature *signature,
                  struct error *err)
{
        struct verification verification = {.manifest_digest = DIGEST,
                                            .requirements = {"default", requirement, 1},
                                            .signatures = {signature, 1}};
        assert_int_equal(reference_parse(NAME, &verification.reference, NULL), 0);
        return verify_image(&verification, "/nowhere", err);
}

static void accepted(const struct policy_requirement *requirement,
                     const struct signature *signature)
{
        struct error err = {0};
        if (verify(requirement, signature, &err) < 0)
                fail_msg("%s", err.message);
}

static void refused(const struct policy_requirement *requirement, const struct signature *signature,
                    const char *said)
{
        struct error err = {0};
        if (verify(requirement, signature, &err) == 0)
                fail_msg("accepted, though: %s", said);
        if (!strstr(err.message, said))
                fail_msg("said \"%s\" instead of \"%s\"", err.message, said);
}

/* ---- keys ---- */

static void test_keys(void **state)
{
        EVP_PKEY *keys[] = {EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"),
                            EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"),
                            EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048),
                            EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
        const char *payload = payload_text(DIGEST, NAME);
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
                struct policy_requirement requirement = requirement_of(keys[i]);
                struct signature signature = signature_by(keys[i], payload);
                accepted(&requirement, &signature);
                signature.bytes = payload_text(DIGEST, "registry.example/team/app:2");
                refused(&requirement, &signature, "not made by a key");
                signature = signature_by(stranger, payload);
                refused(&requirement, &signature, "not made by a key");
                /* The second of two keys. */
                requirement.keys = keys_of(public_pem(stranger), public_pem(keys[i]));
                signature = signature_by(keys[i], payload);
                accepted(&requirement, &signature);
                EVP_PKEY_free(keys[i]);
        }
}

static void test_a_weak_key_is_refused(void **state)
{
        EVP_PKEY *weak = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
        struct policy_requirement requirement = requirement_of(weak);
        struct signature signature = signature_by(weak, payload_text(DIGEST, NAME));
        refused(&requirement, &signature, "not supported");
        EVP_PKEY_free(weak);
}

static void test_what_was_signed(void **state)
{
        struct policy_requirement requirement = requirement_of(signer);
        static const char *const rubbish[] = {
                "",
                "{}",
                "{\"critical\":{},\"optional\":{}}",
                "{\"critical\":{\"identity\":{\"docker-reference\":\"" NAME
                "\"},\"image\":{\"docker-manifest-digest\":\"" DIGEST
                "\"},\"type\":\"atomic container signature\"},\"optional\":{}}",
                "{\"critical\":{\"identity\":{\"docker-reference\":\"" NAME
                "\"},\"image\":{\"docker-manifest-digest\":\"" DIGEST
                "\",\"more\":1},\"type\":\"" PAYLOAD_SIGSTORE "\"},\"optional\":{}}",
                "{\"critical\":{\"identity\":{\"docker-reference\":\"" NAME
                "\"},\"image\":{\"docker-manifest-digest\":\"" DIGEST
                "\"},\"type\":\"" PAYLOAD_SIGSTORE "\"},\"optional\":{},\"more\":{}}",
        };
        for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
                struct signature signature = signature_by(signer, rubbish[i]);
                refused(&requirement, &signature, "what was signed");
        }
        struct signature signature = signature_by(signer, payload_text(OTHER, NAME));
        refused(&requirement, &signature, OTHER);
        signature = signature_by(signer, payload_text(DIGEST, "registry.example/team/app:2"));
        refused(&requirement, &signature, "another name");
        requirement.identity.match = POLICY_MATCH_REPOSITORY;
        accepted(&requirement, &signature);
        signature.base64 = "?";
        refused(&requirement, &signature, "not base64");
        signature.kind = SIGNATURE_SIMPLE;
        refused(&requirement, &signature, "there is none");
}

/* ---- the log ---- */

static void test_the_log_must_know_a_signature_by_a_key(void **state)
{
        struct policy_requirement requirement = requirement_of(signer);
        struct signature signature = signature_by(signer, payload_text(DIGEST, NAME));
        struct signature other = signature_by(signer, payload_text(DIGEST, "registry.example/x:1"));
        const char *pem = public_pem(signer);

        requirement.rekor = keys_of(public_pem(log_key), NULL);
        refused(&requirement, &signature, "no promise");
        signature.bundle = promise(log_key, &signature, pem, 1);
        accepted(&requirement, &signature);
        requirement.rekor = keys_of(public_pem(stranger), public_pem(log_key));
        accepted(&requirement, &signature);
        requirement.rekor = keys_of(public_pem(log_key), NULL);
        signature.bundle = promise(stranger, &signature, pem, 1);
        refused(&requirement, &signature, "not signed by a key that the policy names");
        signature.bundle = promise(log_key, &signature, public_pem(stranger), 1);
        refused(&requirement, &signature, "another key");
        signature.bundle = promise(log_key, &other, pem, 1);
        refused(&requirement, &signature, "something else");
        /* ECDSA signs the same another way each time. */
        other = signature_by(signer, signature.bytes);
        signature.bundle = promise(log_key, &other, pem, 1);
        refused(&requirement, &signature, "another signature");
        signature.bundle = "{}";
        refused(&requirement, &signature, "SignedEntryTimestamp");
        /* What was signed, with one more member. */
        char *bundle = promise(log_key, &signature, pem, 1);
        signature.bundle =
                arena_printf(arena, "%.*s,\"more\":1}}", (int)strlen(bundle) - 2, bundle);
        refused(&requirement, &signature, "Payload");
}

/* ---- certificates ---- */

static const struct names GOOD = {.email = "email:" EMAIL,
                                  .issuer = ISSUER,
                                  .issuer_v2 = ISSUER,
                                  .usage = "codeSigning",
                                  .from = -2 * DAY,
                                  .until = -DAY};

/* By a certificate that was good when the log took the signature in, and no longer is. */
static void with_certificate(const struct names *names, int64_t when, struct signature *signature,
                             struct policy_requirement *requirement)
{
        X509 *root = certify(authority, NULL, authority, NULL);
        X509 *leaf = certify(signer, root, authority, names);
        *signature = signature_by(signer, payload_text(DIGEST, NAME));
        signature->certificate = certificate_pem(leaf);
        signature->chain = certificate_pem(root);
        signature->bundle = promise(log_key, signature, signature->certificate, time(NULL) + when);
        *requirement = (struct policy_requirement){
                .kind = POLICY_SIGSTORE_SIGNED,
                .place = "default[0]",
                .has_fulcio = true,
                .ca = keys_of(certificate_pem(root), NULL),
                .oidc_issuer = ISSUER,
                .subject_email = EMAIL,
                .rekor = keys_of(public_pem(log_key), NULL),
        };
        X509_free(leaf);
        X509_free(root);
}

#define WHILE_GOOD (-3 * DAY / 2)

static void test_a_certificate_of_fulcio(void **state)
{
        struct signature signature;
        struct policy_requirement requirement;
        with_certificate(&GOOD, WHILE_GOOD, &signature, &requirement);
        accepted(&requirement, &signature);
        requirement.subject_email = "other@example.org";
        refused(&requirement, &signature, "not for other@example.org");
        requirement.subject_email = EMAIL;
        requirement.oidc_issuer = "https://other.example";
        refused(&requirement, &signature, "another OIDC issuer");
        requirement.oidc_issuer = ISSUER;
        signature.certificate = NULL;
        refused(&requirement, &signature, "no certificate");
}

static void test_a_certificate_counts_at_the_time_of_the_log(void **state)
{
        struct signature signature;
        struct policy_requirement requirement;
        with_certificate(&GOOD, 0, &signature, &requirement);
        refused(&requirement, &signature, "expired");
        with_certificate(&GOOD, -5 * DAY, &signature, &requirement);
        refused(&requirement, &signature, "not yet valid");
}

static void test_a_certificate_of_another_authority(void **state)
{
        struct signature signature;
        struct policy_requirement requirement;
        with_certificate(&GOOD, WHILE_GOOD, &signature, &requirement);
        X509 *other = certify(stranger, NULL, stranger, NULL);
        requirement.ca = keys_of(certificate_pem(other), NULL);
        refused(&requirement, &signature, "does not hold");
        X509_free(other);
}

static void test_certificates_that_say_something_else(void **state)
{
        struct signature signature;
        struct policy_requirement requirement;
        struct names names = GOOD;
        names.usage = "serverAuth";
        with_certificate(&names, WHILE_GOOD, &signature, &requirement);
        refused(&requirement, &signature, "signing code");
        names = GOOD;
        names.email = "DNS:" EMAIL;
        with_certificate(&names, WHILE_GOOD, &signature, &requirement);
        refused(&requirement, &signature, "not for " EMAIL);
        names = GOOD;
        names.issuer = names.issuer_v2 = NULL;
        with_certificate(&names, WHILE_GOOD, &signature, &requirement);
        refused(&requirement, &signature, "does not say");
        names.issuer_v2 = ISSUER;
        with_certificate(&names, WHILE_GOOD, &signature, &requirement);
        accepted(&requirement, &signature);
        names.issuer = "https://other.example";
        with_certificate(&names, WHILE_GOOD, &signature, &requirement);
        refused(&requirement, &signature, "another OIDC issuer");
}

static void test_a_signature_that_is_not_the_certificates(void **state)
{
        struct signature signature;
        struct policy_requirement requirement;
        with_certificate(&GOOD, WHILE_GOOD, &signature, &requirement);
        signature.base64 = sign(stranger, signature.bytes);
        signature.bundle =
                promise(log_key, &signature, signature.certificate, time(NULL) + WHILE_GOOD);
        refused(&requirement, &signature, "certificate's key");
}

static void test_a_pki_of_ones_own(void **state)
{
        struct names names = {.email = "email:" EMAIL ",DNS:build.example",
                              .usage = "codeSigning",
                              .from = -DAY,
                              .until = DAY};
        struct signature signature;
        struct policy_requirement requirement;
        with_certificate(&names, 0, &signature, &requirement);
        requirement.has_fulcio = false;
        requirement.has_pki = true;
        requirement.roots = requirement.ca;
        accepted(&requirement, &signature);
        requirement.subject_hostname = "build.example";
        accepted(&requirement, &signature);
        requirement.subject_hostname = "other.example";
        refused(&requirement, &signature, "not for other.example");
        names.until = -DAY / 2;
        with_certificate(&names, 0, &signature, &requirement);
        requirement.has_fulcio = false;
        requirement.has_pki = true;
        requirement.roots = requirement.ca;
        refused(&requirement, &signature, "expired");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keys),
                cmocka_unit_test(test_a_weak_key_is_refused),
                cmocka_unit_test(test_what_was_signed),
                cmocka_unit_test(test_the_log_must_know_a_signature_by_a_key),
                cmocka_unit_test(test_a_certificate_of_fulcio),
                cmocka_unit_test(test_a_certificate_counts_at_the_time_of_the_log),
                cmocka_unit_test(test_a_certificate_of_another_authority),
                cmocka_unit_test(test_certificates_that_say_something_else),
                cmocka_unit_test(test_a_signature_that_is_not_the_certificates),
                cmocka_unit_test(test_a_pki_of_ones_own),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
