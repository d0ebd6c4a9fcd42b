#include "image/trust/certificate.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>

/* Fulcio's extensions: the issuer as bare text, and as an ASN.1 string. */
#define AUTH_LEVEL    1 /* SSL_CTX_set_security_level(3): 80 bits */
#define ISSUER_OID    "1.3.6.1.4.1.57264.1.1"
#define ISSUER_V2_OID "1.3.6.1.4.1.57264.1.8"

#define CLEANUP_X509_STACK CLEANUP(cleanup_stack)

static void cleanup_stack(STACK_OF(X509) * *stack)
{
        sk_X509_pop_free(*stack, X509_free);
}

static int refuse(struct error *err, const char *why)
{
        ERR_clear_error();
        return error_set(err, ERROR_FAILED_PRECONDITION, "%s", why);
}

/* ---- reading ---- */

/* Adds all certificates of a text to stack. False where it has none, too many, or something else.
 */
static bool add_certificates(STACK_OF(X509) * stack, const char *pem, size_t length)
{
        BIO *bio = BIO_new_mem_buf(pem, (int)length);
        X509 *certificate;
        int count = 0;

        while (sk_X509_num(stack) <= CERTIFICATES_MAX &&
               (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
                sk_X509_push(stack, certificate);
                count++;
        }
        unsigned long why = ERR_peek_last_error();
        ERR_clear_error();
        BIO_free(bio);
        return count > 0 && sk_X509_num(stack) <= CERTIFICATES_MAX &&
               ERR_GET_REASON(why) == PEM_R_NO_START_LINE;
}

int certificate_read(const char *pem, X509 **certificate, struct error *err)
{
        CLEANUP_X509_STACK STACK_OF(X509) *stack = sk_X509_new_null();
        if (!add_certificates(stack, pem, strlen(pem)) || sk_X509_num(stack) != 1)
                return refuse(err, "its certificate is not one certificate in PEM");
        *certificate = sk_X509_pop(stack);
        return 0;
}

static bool add_keys(STACK_OF(X509) * stack, const struct policy_keys *keys)
{
        for (size_t i = 0; i < keys->count; i++)
                if (!add_certificates(stack, keys->list[i].bytes, keys->list[i].length))
                        return false;
        return true;
}

/* ---- the chain ---- */

static bool may_sign_code(X509 *certificate)
{
        /* All bits are set where nothing is said. */
        return X509_get_extended_key_usage(certificate) & (XKU_CODE_SIGN | XKU_ANYEKU);
}

static int build_chain(X509_STORE_CTX *context, struct error *err)
{
        if (X509_verify_cert(context) != 1) {
                const char *why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
                ERR_clear_error();
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "its certificate does not hold: %s", why);
        }
        STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(context);
        /* The last one is the policy's own. */
        for (int i = 0; i < sk_X509_num(chain) - 1 || i == 0; i++)
                if (!may_sign_code(sk_X509_value(chain, i)))
                        return refuse(err, "its certificate is not for signing code");
        return 0;
}

static int verify_chain(X509 *certificate, STACK_OF(X509) * roots, STACK_OF(X509) * intermediates,
                        int64_t time, struct error *err)
{
        X509_STORE *store = X509_STORE_new();
        X509_STORE_CTX *context = X509_STORE_CTX_new();
        int r = -ENOMEM;

        for (int i = 0; i < sk_X509_num(roots); i++)
                X509_STORE_add_cert(store, sk_X509_value(roots, i));
        if (X509_STORE_CTX_init(context, store, certificate, intermediates) == 1) {
                X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(context);
                X509_VERIFY_PARAM_set_time(parameters, (time_t)time);
                /* An authority that the policy names need not be a root. */
                X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
                /* Nothing that hangs on MD5 or SHA-1, for which collisions can be made. */
                X509_VERIFY_PARAM_set_auth_level(parameters, AUTH_LEVEL);
                r = build_chain(context, err);
        } else {
                refuse(err, "its certificate cannot be verified");
        }
        X509_STORE_CTX_free(context);
        X509_STORE_free(store);
        return r;
}

/* ---- the subject ---- */

/* The extension's text is value. *found: there is such an extension. */
static bool extension_is(X509 *certificate, const char *oid, bool is_string, const char *value,
                         bool *found)
{
        ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
        int index = X509_get_ext_by_OBJ(certificate, object, -1);
        bool twice = index >= 0 && X509_get_ext_by_OBJ(certificate, object, index) >= 0;
        ASN1_OBJECT_free(object);
        *found = index >= 0;
        if (!*found || twice)
                return false;
        const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data(X509_get_ext(certificate, index));
        const unsigned char *bytes = ASN1_STRING_get0_data(data);
        size_t length = (size_t)ASN1_STRING_length(data);
        if (!is_string)
                return length == strlen(value) && memcmp(bytes, value, length) == 0;
        const unsigned char *end = bytes;
        ASN1_UTF8STRING *text = d2i_ASN1_UTF8STRING(NULL, &end, (long)length);
        bool is = text && end == bytes + length &&
                  (size_t)ASN1_STRING_length(text) == strlen(value) &&
                  memcmp(ASN1_STRING_get0_data(text), value, strlen(value)) == 0;
        ASN1_UTF8STRING_free(text);
        return is;
}

static int check_issuer(X509 *certificate, const char *issuer, struct error *err)
{
        bool old_found, new_found;
        bool old_good = extension_is(certificate, ISSUER_OID, false, issuer, &old_found);
        bool new_good = extension_is(certificate, ISSUER_V2_OID, true, issuer, &new_found);

        ERR_clear_error();
        if (!old_found && !new_found)
                return refuse(err, "its certificate does not say who the OIDC issuer was");
        if ((old_found && !old_good) || (new_found && !new_good))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "its certificate has another OIDC issuer than %.300s", issuer);
        return 0;
}

static bool has_email(X509 *certificate, const char *email)
{
        GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        bool has = false;
        for (int i = 0; i < sk_GENERAL_NAME_num(names) && !has; i++) {
                int type;
                const ASN1_STRING *text =
                        GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
                has = type == GEN_EMAIL && (size_t)ASN1_STRING_length(text) == strlen(email) &&
                      memcmp(ASN1_STRING_get0_data(text), email, strlen(email)) == 0;
        }
        GENERAL_NAMES_free(names);
        ERR_clear_error();
        return has;
}

static int check_subject(X509 *certificate, const struct policy_requirement *requirement,
                         struct error *err)
{
        const char *email = requirement->subject_email, *host = requirement->subject_hostname;

        if (email && !has_email(certificate, email))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "its certificate is not for %.300s", email);
        if (host && X509_check_host(certificate, host, 0,
                                    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                            X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                                    NULL) != 1)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "its certificate is not for %.300s", host);
        return requirement->has_fulcio ? check_issuer(certificate, requirement->oidc_issuer, err)
                                       : 0;
}

int certificate_verify(X509 *certificate, const char *chain,
                       const struct policy_requirement *requirement, int64_t time,
                       struct error *err)
{
        CLEANUP_X509_STACK STACK_OF(X509) *roots = sk_X509_new_null();
        CLEANUP_X509_STACK STACK_OF(X509) *intermediates = sk_X509_new_null();
        bool fulcio = requirement->has_fulcio;

        if (!add_keys(roots, fulcio ? &requirement->ca : &requirement->roots) ||
            !add_keys(intermediates, &requirement->intermediates))
                return refuse(err, "the policy's authorities are no certificates in PEM");
        if (chain && !add_certificates(intermediates, chain, strlen(chain)))
                return refuse(err, "its chain of certificates is not one in PEM");
        int r = verify_chain(certificate, roots, intermediates, time, err);
        return r == 0 ? check_subject(certificate, requirement, err) : r;
}
