/*
 * verification: what the daemon and crisp-trust say to each other.
 *
 * The daemon starts crisp-trust for one image, writes one line of JSON to its stdin, and reads one
 * line from its stdout: accepted, or why not. Pure; any thread. What is given lives in the arena.
 */
#ifndef CRISP_IMAGE_VERIFICATION_H
#define CRISP_IMAGE_VERIFICATION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "image/policy.h"
#include "image/reference.h"
#include "image/signature.h"

#define VERIFICATION_LINE_MAX  (8u << 20)
#define VERIFICATION_REPLY_MAX 8192

struct verification {
        struct reference reference;
        const char *manifest_digest;
        const char *index_digest; /* or null */
        struct policy_requirements requirements;
        struct signatures signatures;
};

/* requirements is what policy_to_json gives, as text. The line with its newline, on the heap. */
char *verification_encode(const struct reference *reference, const char *manifest_digest,
                          const char *index_digest, const char *requirements,
                          const struct signatures *signatures);
int verification_decode(const char *line, size_t length, struct arena *arena,
                        struct verification *verification, struct error *err);

/* why is null for an image that is accepted. */
char *verification_encode_reply(const char *why);
/* 0 where it was accepted; FAILED_PRECONDITION with the reason where not; INTERNAL for what is no
 * reply. */
int verification_decode_reply(const char *line, size_t length, struct error *err);

#endif
