/*
 * gpg: OpenPGP messages verified with certain keys and no others.
 *
 * Runs gpg, by gpgme, in a home folder of its own that holds exactly these keys. Blocking; one
 * thread.
 */
#ifndef CRISP_IMAGE_TRUST_GPG_H
#define CRISP_IMAGE_TRUST_GPG_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "image/policy.h"

#define GPG_TEXT_MAX (64u << 10) /* bytes that a message may unpack to */

struct gpg;

/* Makes folder, which must not be there, into a home with the keys. FAILED_PRECONDITION where one
 * of them is no key. */
int gpg_open(const struct policy_keys *keys, const char *folder, struct gpg **gpg,
             struct error *err);
void gpg_close(struct gpg *gpg); /* null is allowed; the folder stays */

/*
 * Adds the message's text to *text where it has exactly one signature, good, by one of the keys,
 * neither expired nor revoked. Otherwise *text is not to be used.
 */
int gpg_verify(struct gpg *gpg, const char *message, size_t length, struct buffer *text,
               struct error *err);

static inline void cleanup_gpg(struct gpg **gpg)
{
        gpg_close(*gpg);
}
#define AUTO_GPG CLEANUP(cleanup_gpg)

#endif
