/*
 * policy: which images may be run, as containers-policy.json(5) says it.
 *
 * A policy gives each name a list of requirements, all of which an image must meet. Like the
 * manual's, the parser is strict: a member that it does not know refuses the whole file. What it
 * gives lives in the arena. Pure, except policy_load_keys; any thread.
 */
#ifndef CRISP_IMAGE_POLICY_H
#define CRISP_IMAGE_POLICY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "image/reference.h"

#define POLICY_BYTES_MAX        (1u << 20)
#define POLICY_REQUIREMENTS_MAX 32           /* of one scope */
#define POLICY_KEYS_MAX         32           /* files or texts that one member names */
#define POLICY_KEY_BYTES_MAX    (256u << 10) /* of one of them */
#define POLICY_KEYS_BYTES_MAX   (1u << 20)   /* of all keys of the requirements of one scope */

struct policy;

enum policy_kind { POLICY_ACCEPT, POLICY_REJECT, POLICY_SIGNED_BY, POLICY_SIGSTORE_SIGNED };

enum policy_match {
        POLICY_MATCH_REPO_DIGEST_OR_EXACT, /* where a requirement says nothing */
        POLICY_MATCH_EXACT,
        POLICY_MATCH_REPOSITORY,
        POLICY_EXACT_REFERENCE,
        POLICY_EXACT_REPOSITORY,
        POLICY_REMAP_IDENTITY,
};

/* Which name a signature must be for. */
struct policy_identity {
        enum policy_match match;
        const char *value;         /* the reference, repository or prefix; else null */
        const char *signed_prefix; /* of a remapped identity */
};

struct policy_key {
        const char *bytes;
        size_t length;
};

/* Keys or certificates: files to be read, or the bytes themselves. */
struct policy_keys {
        const char *const *paths;
        size_t path_count;
        const struct policy_key *list;
        size_t count;
};

struct policy_requirement {
        enum policy_kind kind;
        const char *place; /* where it stands in the file, for errors */
        struct policy_identity identity;
        struct policy_keys keys; /* of OpenPGP, or of sigstore */
        /* sigstoreSigned alone. Certificates of Fulcio's kind: ... */
        bool has_fulcio;
        struct policy_keys ca;
        const char *oidc_issuer;
        const char *subject_email; /* also of a PKI; then it may be null */
        struct policy_keys rekor;  /* the transparency log's */
        /* ... or of another PKI */
        bool has_pki;
        struct policy_keys roots, intermediates;
        const char *subject_hostname;
};

struct policy_requirements {
        const char *scope; /* for people: "default", "docker", "docker docker.io/library" */
        const struct policy_requirement *list;
        size_t count;
};

/* INVALID_ARGUMENT names the file and the member. */
int policy_parse(const char *bytes, size_t length, const char *file, struct arena *arena,
                 struct policy **policy, struct error *err);

/* What an image of a registry must meet, by the most specific scope that fits its name. */
const struct policy_requirements *policy_for_name(const struct policy *policy,
                                                  const struct reference *reference);

/* What an image without a name must meet. */
const struct policy_requirements *policy_for_nameless(const struct policy *policy);

/* ACCEPT where nothing but that is required, REJECT where a requirement rejects, else the kind of a
 * requirement that asks for signatures. */
enum policy_kind policy_decides(const struct policy_requirements *requirements);

/* Reads the files that requirements name, so that the keys are at hand. Blocks on the disk. Errors
 * name requirement and file. */
int policy_load_keys(const struct policy_requirements *requirements, struct arena *arena,
                     struct policy_requirements *loaded, struct error *err);

/* Requirements with loaded keys as JSON, and back. */
json_t *policy_to_json(const struct policy_requirements *requirements);
int policy_from_json(const json_t *array, struct arena *arena,
                     struct policy_requirements *requirements, struct error *err);

#endif
