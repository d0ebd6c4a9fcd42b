/*
 * verifier: programs of the operator that say whether an image may be pulled.
 *
 * They are what containerd's image verifier plugin calls: each file of a folder is run with -name,
 * -digest and -stdin-media-type, has the descriptor of what the name stands for on its stdin, and
 * lets the image in with exit code 0; its stdout says why. All must let it in. Other than there,
 * nothing is passed over: more programs than VERIFIERS_MAX, or a folder that cannot be read, refuse
 * every image. A folder without programs refuses none.
 *
 * A program has a deadline, PATH alone in its environment and a process group that ends with it.
 * What it writes past the bounds is dropped.
 */
#ifndef CRISP_IMAGE_VERIFIER_H
#define CRISP_IMAGE_VERIFIER_H

#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

#define VERIFIERS_MAX            10
#define VERIFIER_TIMEOUT_DEFAULT (10 * NSEC_PER_SEC)

struct verifier_options {
        const char *directory; /* null or empty: there are none */
        int64_t timeout;       /* ns for each program; 0: the default */
};

/* What the name stands for: an index, or the manifest itself. */
struct verifier_subject {
        const char *name; /* in full */
        const char *digest;
        const char *media_type;
        int64_t size; /* bytes */
};

/*
 * Runs them one after the other, by name, until one refuses: then the error has the word
 * SignatureValidationFailed and what it said. Task only; waits, interruptibly (-ECANCELED).
 */
int verifier_check(const struct verifier_options *options, const struct verifier_subject *subject,
                   struct error *err);

#endif
