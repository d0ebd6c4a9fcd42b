/*
 * Any text as what is verified about an image: as the daemon hands it to crisp-trust, as what was
 * signed, as a transparency log's promise, and as certificates. None of it is ever accepted without
 * a key, and a promise that is not signed never.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/memory.h"
#include "image/reference.h"
#include "image/trust/certificate.h"
#include "image/trust/log.h"
#include "image/trust/payload.h"
#include "image/verification.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_payload(const char *text, size_t size, const char *type, struct arena *arena)
{
        struct payload payload;
        struct error err;
        if (payload_parse(text, size, type, arena, &payload, &err) == 0)
                assert(digest_is_valid(payload.digest) && payload.reference[0]);
}

static void as_verification(const char *text, size_t size, struct arena *arena)
{
        struct verification verification;
        struct signatures merged;
        struct error err;
        if (verification_decode(text, size, arena, &verification, &err) < 0)
                return;
        assert(verification.requirements.count > 0);
        assert(verification.signatures.count <= SIGNATURES_MAX);
        signatures_merge(&verification.signatures, &verification.signatures, arena, &merged);
        assert(merged.count <= verification.signatures.count);
}

static void as_promise(const char *text)
{
        static const char rekor[] =
                "-----BEGIN PUBLIC KEY-----\n"
                "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEoX6NGBEDMz85THmTGLGAQkc6qOP1"
                "\n"
                "-----END PUBLIC KEY-----\n";
        struct policy_key key = {rekor, sizeof(rekor) - 1};
        struct policy_keys keys = {.list = &key, .count = 1};
        struct buffer signature = {0};
        struct log_entry entry = {
                .payload = "", .signature = &signature, .der = (const unsigned char *)""};
        int64_t when;
        struct error err;
        assert(log_verify(text, &keys, &entry, &when, &err) < 0);
}

static void as_certificates(const char *text)
{
        AUTO_CERTIFICATE X509 *certificate = NULL;
        struct policy_key key = {text, strlen(text)};
        struct policy_requirement requirement = {.has_fulcio = true,
                                                 .ca = {.list = &key, .count = 1},
                                                 .oidc_issuer = "https://issuer.example",
                                                 .subject_email = "nobody@issuer.example"};
        struct error err;
        if (certificate_read(text, &certificate, &err) == 0)
                certificate_verify(certificate, text, &requirement, 0, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_FREE char *text = xstrndup((const char *)data, size);

        as_payload((const char *)data, size, PAYLOAD_SIMPLE, arena);
        as_payload((const char *)data, size, PAYLOAD_SIGSTORE, arena);
        as_verification((const char *)data, size, arena);
        as_promise(text);
        as_certificates(text);
        return 0;
}
