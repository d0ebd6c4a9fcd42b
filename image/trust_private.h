/*
 * trust_private: what trust's own files share. Nobody else includes this.
 */
#ifndef CRISP_IMAGE_TRUST_PRIVATE_H
#define CRISP_IMAGE_TRUST_PRIVATE_H

#include "base/sha256.h"
#include "base/table.h"
#include "image/trust.h"

struct trust {
        char *policy, *policy_dir, *registries_d, *program;
        struct table *verdicts; /* sha256 of what was accepted to int64_t, when: monotonic ns */
};

/* One name and what is to be known of it, on a worker. */
struct trust_job {
        const struct trust *trust;
        const struct reference *reference; /* null: an image without a name */
        const char *space;
        struct arena *arena;
        struct trust_plan *plan;
        struct error *err;
};

/* Reads the policy and makes the plan. Blocks. */
int trust_plan_work(void *argument);

/* The signatures that the store has of a manifest; none where there is no file. Blocks. */
int trust_read_stored(const char *path, struct arena *arena, const char **index_digest,
                      struct signatures *signatures, struct error *err);

#endif
