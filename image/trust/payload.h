/*
 * payload: the text that was signed: which image, under which name.
 *
 * Simple signing and cosign write the same document with another type (containers-signature(5)).
 * The parser is as strict as theirs: what it does not know could be what a stranger reads
 * otherwise. Pure; any thread.
 */
#ifndef CRISP_IMAGE_TRUST_PAYLOAD_H
#define CRISP_IMAGE_TRUST_PAYLOAD_H

#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"

#define PAYLOAD_SIMPLE   "atomic container signature"
#define PAYLOAD_SIGSTORE "cosign container image signature"

struct payload {
        const char *digest;    /* of the manifest; valid */
        const char *reference; /* a stranger's text */
};

/* type is one of the two above. What is given lives in arena. */
int payload_parse(const char *bytes, size_t length, const char *type, struct arena *arena,
                  struct payload *payload, struct error *err);

#endif
