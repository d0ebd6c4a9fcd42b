#include "image/trust/verify.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/base64.h"
#include "base/memory.h"
#include "image/identity.h"
#include "image/trust/certificate.h"
#include "image/trust/gpg.h"
#include "image/trust/key.h"
#include "image/trust/log.h"
#include "image/trust/payload.h"

#define REASONS_MAX 1200 /* bytes of why signatures are not accepted */
#define REASON_MAX  400  /* of one of them */

struct check {
        const struct verification *verification;
        const struct policy_requirement *requirement;
        struct arena *arena;
        struct gpg *gpg;
        EVP_PKEY *keys[POLICY_KEYS_MAX];
        size_t key_count;
};

/* ---- what was signed ---- */

static int check_payload(const struct check *check, const char *bytes, size_t length,
                         const char *type, struct error *err)
{
        const struct verification *image = check->verification;
        struct payload payload;
        int r = payload_parse(bytes, length, type, check->arena, &payload, err);

        if (r < 0)
                return r;
        /* The index names the manifest by its digest: who signed it signed that. */
        if (strcmp(payload.digest, image->manifest_digest) != 0 &&
            (!image->index_digest || strcmp(payload.digest, image->index_digest) != 0))
                return error_set(err, ERROR_FAILED_PRECONDITION, "it is for another image: %s",
                                 payload.digest);
        if (!identity_matches(&check->requirement->identity, &image->reference, payload.reference))
                return error_set(err, ERROR_FAILED_PRECONDITION, "it is for another name: %.300s",
                                 payload.reference);
        return 0;
}

/* ---- simple signing ---- */

static int accept_simple(const struct check *check, const struct signature *signature,
                         struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        int r = gpg_verify(check->gpg, signature->bytes, signature->length, &text, err);
        return r == 0 ? check_payload(check, text.data, text.length, PAYLOAD_SIMPLE, err) : r;
}

/* ---- sigstore ---- */

static int check_log(const struct check *check, const struct signature *signature,
                     const struct buffer *bytes, const unsigned char *der, int der_length,
                     int64_t *when, struct error *err)
{
        struct log_entry entry = {.payload = signature->bytes,
                                  .length = signature->length,
                                  .signature = bytes,
                                  .der = der,
                                  .der_length = (size_t)der_length};
        if (!signature->bundle)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "it has no promise of a transparency log");
        if (der_length <= 0)
                return error_set(err, ERROR_INTERNAL, "its key cannot be encoded");
        return log_verify(signature->bundle, &check->requirement->rekor, &entry, when, err);
}

static int accept_by_keys(const struct check *check, const struct signature *signature,
                          const struct buffer *bytes, struct error *err)
{
        EVP_PKEY *key = NULL;
        for (size_t i = 0; i < check->key_count && !key; i++)
                if (key_verifies(check->keys[i], signature->bytes, signature->length, bytes))
                        key = check->keys[i];
        if (!key)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "it was not made by a key of the policy's");
        if (check->requirement->rekor.count == 0)
                return 0;
        unsigned char *der = NULL;
        int64_t when;
        int length = i2d_PUBKEY(key, &der);
        int r = check_log(check, signature, bytes, der, length, &when, err);
        OPENSSL_free(der);
        return r;
}

static int accept_by_certificate(const struct check *check, const struct signature *signature,
                                 const struct buffer *bytes, struct error *err)
{
        const struct policy_requirement *requirement = check->requirement;
        AUTO_CERTIFICATE X509 *certificate = NULL;
        int64_t when = time(NULL);
        int r;

        if (!signature->certificate)
                return error_set(err, ERROR_FAILED_PRECONDITION, "it has no certificate");
        if ((r = certificate_read(signature->certificate, &certificate, err)) < 0)
                return r;
        if (requirement->has_fulcio) {
                unsigned char *der = NULL;
                int length = i2d_X509(certificate, &der);
                r = check_log(check, signature, bytes, der, length, &when, err);
                OPENSSL_free(der);
                if (r < 0)
                        return r;
        }
        r = certificate_verify(certificate, signature->chain, requirement, when, err);
        if (r < 0)
                return r;
        EVP_PKEY *key = X509_get0_pubkey(certificate);
        if (!key || !key_verifies(key, signature->bytes, signature->length, bytes))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "it was not made by its certificate's key");
        return 0;
}

static int accept_sigstore(const struct check *check, const struct signature *signature,
                           struct error *err)
{
        const struct policy_requirement *requirement = check->requirement;
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        const char *text = signature->base64 ? signature->base64 : "?";
        size_t length = 0;
        AUTO_FREE unsigned char *decoded = base64_decode(text, strlen(text), &length);
        int r;

        if (!decoded)
                return error_set(err, ERROR_FAILED_PRECONDITION, "it is not base64");
        buffer_add(&bytes, decoded, length);
        if (requirement->has_fulcio || requirement->has_pki)
                r = accept_by_certificate(check, signature, &bytes, err);
        else
                r = accept_by_keys(check, signature, &bytes, err);
        return r == 0 ? check_payload(check, signature->bytes, signature->length, PAYLOAD_SIGSTORE,
                                      err)
                      : r;
}

/* ---- requirements ---- */

static void add_reason(struct buffer *reasons, const struct signature *signature,
                       const struct error *why)
{
        if (reasons->length < REASONS_MAX)
                buffer_printf(reasons, "%s%.300s: %.*s", reasons->length ? "; " : "",
                              signature->source, REASON_MAX, why->message);
}

static int need_one(const struct check *check, struct error *err)
{
        bool simple = check->requirement->kind == POLICY_SIGNED_BY;
        const struct signatures *signatures = &check->verification->signatures;
        const char *name = simple ? "signedBy" : "sigstoreSigned";
        AUTO_BUFFER struct buffer reasons = BUFFER_INIT;

        for (size_t i = 0; i < signatures->count; i++) {
                const struct signature *signature = &signatures->list[i];
                struct error why;
                if ((signature->kind == SIGNATURE_SIMPLE) != simple)
                        continue;
                if ((simple ? accept_simple(check, signature, &why)
                            : accept_sigstore(check, signature, &why)) == 0)
                        return 0;
                add_reason(&reasons, signature, &why);
        }
        if (reasons.length == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s: a signature is needed and there is none", name);
        return error_set(err, ERROR_FAILED_PRECONDITION, "%s: no signature is accepted: %s", name,
                         reasons.data);
}

static int read_keys(struct check *check, struct error *err)
{
        const struct policy_keys *keys = &check->requirement->keys;
        for (size_t i = 0; i < keys->count; i++) {
                int r = key_read(&keys->list[i], &check->keys[i], err);
                if (r < 0)
                        return r;
                check->key_count++;
        }
        return 0;
}

static bool has_simple(const struct signatures *signatures)
{
        for (size_t i = 0; i < signatures->count; i++)
                if (signatures->list[i].kind == SIGNATURE_SIMPLE)
                        return true;
        return false;
}

static int meet(struct check *check, const char *home, struct error *err)
{
        int r = 0;
        switch (check->requirement->kind) {
        case POLICY_ACCEPT:
                return 0;
        case POLICY_REJECT:
                return error_set(err, ERROR_FAILED_PRECONDITION, "reject");
        case POLICY_SIGNED_BY:
                if (has_simple(&check->verification->signatures))
                        r = gpg_open(&check->requirement->keys, home, &check->gpg, err);
                break;
        case POLICY_SIGSTORE_SIGNED:
                r = read_keys(check, err);
                break;
        }
        return r == 0 ? need_one(check, err) : r;
}

int verify_image(const struct verification *verification, const char *scratch, struct error *err)
{
        const struct policy_requirements *requirements = &verification->requirements;
        AUTO_ARENA struct arena *arena = arena_new();

        for (size_t i = 0; i < requirements->count; i++) {
                AUTO_FREE char *home = xprintf("%s/gpg%zu", scratch, i);
                struct check check = {.verification = verification,
                                      .requirement = &requirements->list[i],
                                      .arena = arena};
                int r = meet(&check, home, err);
                gpg_close(check.gpg);
                for (size_t k = 0; k < check.key_count; k++)
                        EVP_PKEY_free(check.keys[k]);
                if (r < 0)
                        return error_context(err, "requirement %zu of %zu", i + 1,
                                             requirements->count);
        }
        return requirements->count > 0
                       ? 0
                       : error_set(err, ERROR_FAILED_PRECONDITION, "no requirements");
}
