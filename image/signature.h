/*
 * signature: what somebody has signed about an image, as it came.
 *
 * Simple signing: an OpenPGP message whose text is the payload. sigstore: a payload with the
 * annotations that cosign gives it. Nothing here has been verified. The functions are pure, take
 * any thread, and give what lives in the arena.
 */
#ifndef CRISP_IMAGE_SIGNATURE_H
#define CRISP_IMAGE_SIGNATURE_H

#include <jansson.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"

#define SIGNATURES_MAX       64           /* of one image */
#define SIGNATURE_BYTES_MAX  (64u << 10)  /* of a message, a payload, or an annotation */
#define SIGNATURES_BYTES_MAX (512u << 10) /* of all members of all signatures of an image */
#define SIGNATURES_TEXT_MAX  (2u << 20)   /* of them in JSON */

enum signature_kind { SIGNATURE_SIMPLE = 1, SIGNATURE_SIGSTORE };

struct signature {
        enum signature_kind kind;
        const char *source; /* where it was found, for errors */
        const char *bytes;  /* the OpenPGP message, or sigstore's payload */
        size_t length;
        /* sigstore's annotations; null where there is none */
        const char *base64;      /* the signature of the payload */
        const char *certificate; /* PEM */
        const char *chain;       /* PEM, the intermediate certificates and the root */
        const char *bundle;      /* JSON: the transparency log's promise */
};

struct signatures {
        const struct signature *list;
        size_t count;
};

/* An array of objects. */
json_t *signatures_to_json(const struct signatures *signatures);

/* null and an absent value are no signatures. INVALID_ARGUMENT past the bounds or for wrong types.
 */
int signatures_from_json(const json_t *array, struct arena *arena, struct signatures *signatures,
                         struct error *err);

/* Those of first, then those of second that first has not, up to the bounds. Borrows from both. */
void signatures_merge(const struct signatures *first, const struct signatures *second,
                      struct arena *arena, struct signatures *merged);

#endif
