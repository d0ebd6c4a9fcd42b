/*
 * log: a transparency log's promise that it has an entry.
 *
 * What cosign keeps as "bundle": Rekor's signed entry timestamp over a hashedrekord entry. Pure;
 * any thread.
 */
#ifndef CRISP_IMAGE_TRUST_LOG_H
#define CRISP_IMAGE_TRUST_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "image/policy.h"

/* What the entry must be about. */
struct log_entry {
        const char *payload;
        size_t length;
        const struct buffer *signature; /* of the payload */
        const unsigned char *der;       /* of the key or certificate */
        size_t der_length;
};

/* Checks the promise by one of the log's keys, and that it is about entry. Gives when the log took
 * it in: seconds since 1970. */
int log_verify(const char *bundle, const struct policy_keys *keys, const struct log_entry *entry,
               int64_t *time, struct error *err);

#endif
