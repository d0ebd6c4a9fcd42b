/*
 * trust: whether an image may be pulled and run, as the node's policy says it.
 *
 * The policy is read for each use, by a worker: who changes it restarts nothing. What it says of a
 * namespace is in DIRECTORY/NAMESPACE.json, where there is that file; else the node's file counts.
 * Where that is not there either, everything is accepted. Signatures are verified by crisp-trust, a
 * process of its own that has no network. Its verdicts are remembered, so that an image that is
 * started again under the same policy costs no process.
 *
 * What is refused has the word SignatureValidationFailed; so has a policy that cannot be read.
 * Loop's thread; what waits says so.
 */
#ifndef CRISP_IMAGE_TRUST_H
#define CRISP_IMAGE_TRUST_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "image/reference.h"
#include "image/signature.h"
#include "image/store.h"

#define TRUST_WORD "SignatureValidationFailed"

struct trust;

struct trust_options {
        const char *policy;       /* the node's policy.json */
        const char *policy_dir;   /* NAMESPACE.json */
        const char *registries_d; /* where signatures are */
        const char *program;      /* absolute path of crisp-trust */
};

/* Strings are copied. */
struct trust *trust_new(const struct trust_options *options);
void trust_free(struct trust *trust); /* null is allowed */

/* What an image of a certain name needs. */
struct trust_plan {
        bool needed;              /* signatures are; else the rest is empty */
        const char *fingerprint;  /* of the requirements with their keys; never null */
        const char *requirements; /* JSON, as crisp-trust reads it */
        const char *scope;        /* of the policy, for people */
        const char *lookaside;    /* where simple signatures are, or null */
        bool attachments;         /* sigstore's are beside the image */
};

/*
 * Says what reference needs in a pod of this namespace (null or empty: of none). trust may be null:
 * then nothing is needed. The plan lives in arena. Refuses what the policy rejects. Waits.
 */
int trust_plan(const struct trust *trust, const struct reference *reference, const char *space,
               struct arena *arena, struct trust_plan *plan, struct error *err);

/* What signatures are for: the image's manifest, and the index that led to it. */
struct trust_subject {
        const char *manifest_digest;
        const char *index_digest; /* or null: the same */
};

/*
 * Verifies what was found for reference. Waits, interruptibly.
 */
int trust_verify(struct trust *trust, const struct trust_plan *plan,
                 const struct reference *reference, const struct trust_subject *subject,
                 const struct signatures *signatures, struct error *err);

/* Adds to signatures what lies in a folder of this machine: for a plan whose lookaside is file://.
 * What is given lives in arena. Waits. */
int trust_read_lookaside(const struct trust_plan *plan, const struct trust_subject *subject,
                         struct arena *arena, struct signatures *signatures, struct error *err);

/* Puts before an error where signatures were looked for in vain. */
void trust_say_where(const struct trust_plan *plan, struct error *err);

/*
 * Writes signatures into a pull's staging folder, with those that the store has of the same
 * manifest; store_commit takes them in. Waits.
 */
int trust_stage(const struct store *store, const char *staging, const struct trust_subject *subject,
                const struct signatures *signatures, struct error *err);

/*
 * After a pull whose manifest was verified: whether the staging folder holds that manifest and the
 * configuration that it names. crisp-image reads strangers' bytes, and could have been taken over
 * since. INTERNAL where not. Waits.
 */
int trust_check_staged(const char *staging, const char *manifest_digest, const char *config_digest,
                       struct error *err);

/*
 * Whether a pod of this namespace may run the image with this ID: by its name as asked for, or,
 * where name is null or no name but an ID, by one of those it has. Waits.
 */
int trust_check_image(struct trust *trust, struct store *store, const char *id, const char *name,
                      const char *space, struct error *err);

#endif
