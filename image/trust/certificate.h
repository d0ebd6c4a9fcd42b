/*
 * certificate: who a certificate says has signed, and whether the policy believes its issuer.
 *
 * Pure but for the clock; any thread.
 */
#ifndef CRISP_IMAGE_TRUST_CERTIFICATE_H
#define CRISP_IMAGE_TRUST_CERTIFICATE_H

#include <openssl/x509.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/policy.h"

#define CERTIFICATES_MAX 16 /* of a chain */

/* The one certificate in a text of PEM; the caller calls X509_free. */
int certificate_read(const char *pem, X509 **certificate, struct error *err);

/*
 * Whether it was issued for signing code by one of the policy's authorities, valid at time (seconds
 * since 1970), by way of intermediates that chain (PEM, may be null) has, and for the subject that
 * the requirement's fulcio or pki names.
 */
int certificate_verify(X509 *certificate, const char *chain,
                       const struct policy_requirement *requirement, int64_t time,
                       struct error *err);

static inline void cleanup_certificate(X509 **certificate)
{
        X509_free(*certificate);
}
#define AUTO_CERTIFICATE CLEANUP(cleanup_certificate)

#endif
