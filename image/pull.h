/*
 * pull: images on their way here.
 *
 * Each pull is a task with a crisp-image of its own, the program that talks to the registry and
 * unpacks. Whoever asks for the same reference with the same credentials while it is under way
 * joins it. Loop's thread only.
 */
#ifndef CRISP_IMAGE_PULL_H
#define CRISP_IMAGE_PULL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/credentials.h"
#include "image/place.h"
#include "image/request.h"
#include "image/share.h"
#include "image/sources.h"
#include "image/store.h"
#include "image/trust.h"
#include "image/verifier.h"

#define PULL_PARALLEL_DEFAULT 5
#define PULL_STALL_DEFAULT    (300 * NSEC_PER_SEC) /* beyond crisp-image's own: it retries first */
#define PULL_TOTAL_DEFAULT    (6 * 3600 * NSEC_PER_SEC)

struct puller;

struct pull_options {
        struct store *store;                    /* outlives the puller */
        struct sources *sources;                /* likewise */
        struct trust *trust;                    /* likewise; null: everything is accepted */
        struct verifier_options verifier;       /* asked about each image, too */
        struct credentials_options credentials; /* what it points to, too */
        const char *program;                    /* absolute path of crisp-image */
        const char *decryption_keys; /* folder of keys for encrypted layers; null: none */
        char *const *environment; /* what crisp-image gets: proxies, certificate folders; or null */
        unsigned parallel;        /* pulls under way at once; the others wait. 0: the default */
        int64_t stall;            /* ns without a line from crisp-image; 0: the default */
        int64_t total;            /* ns for a pull; 0: the default */
        struct fetch_limits limits;
        struct share_limits share; /* of layers that others fetch */
        /*
         * A cgroup for a crisp-image of its own. pod_cgroup: the pod's, which the image is for, or
         * null; name: unlike any other's. leave comes when it has ended, or at once where it did
         * not start; after a failure it does not. Both may wait; both null: it starts in the
         * daemon's.
         */
        int (*enter)(const char *pod_cgroup, const char *name, struct pull_place *place,
                     struct error *err);
        void (*leave)(struct pull_place *place);
        bool by_pod; /* the cgroup depends on the pod: pulls for different ones are not joined */
};

/* Strings are copied. */
struct puller *puller_new(const struct pull_options *options);
void puller_free(struct puller *puller); /* no pull may be under way; null is allowed */

/* The daemon ends: pulls that lose their callers from now on are not ended, but left to go on
 * (adopt.h). */
void puller_leave(struct puller *puller);

struct pull_request {
        const char *reference;                       /* as asked for */
        const struct fetch_credentials *credentials; /* borrowed and copied; null: none */
        const char *namespace_;                      /* the pod's; null: unknown */
        const char *user_specified;  /* what reference was before it was completed; or null */
        const char *runtime_handler; /* that the image is meant for; or null */
        const char *pod_cgroup;      /* cgroup parent of the pod; or null */
        const char *os;              /* null: this machine's. So are the next two */
        const char *architecture;
        const char *variant;
};

/*
 * Pulls an image, or joins the pull of it, and gives its ID. Waits, interruptibly: with the last
 * one who wants it interrupted, the pull ends (-ECANCELED). Errors name the reference; a registry
 * that cannot be reached has the word RegistryUnavailable, an image that the node's policy or a
 * verifier refuses SignatureValidationFailed.
 */
int pull_image(struct puller *puller, const struct pull_request *request, char **id,
               struct error *err);

/*
 * Where an image would be pulled from, and with what: for what else is asked of registries. Sets
 * reference, endpoints, decryption_keys and limits of *plan; the strings live in the arena, secrets
 * until it is freed. The name must be in full. Waits.
 */
int pull_plan(struct puller *puller, const char *reference,
              const struct fetch_credentials *credentials, struct arena *arena,
              struct fetch_request *plan, struct error *err);

/* ---- what is under way ---- */

#define PULL_LAYERS_SHOWN 128 /* progress is kept for this many layers of a pull */

enum pull_layer_state {
        PULL_LAYER_WAITING, /* for its turn */
        PULL_LAYER_SHARED,  /* another pull downloads it */
        PULL_LAYER_DOWNLOADING,
        PULL_LAYER_DONE,
        PULL_LAYER_PRESENT, /* came with another pull */
};

struct pull_layer {
        char digest[REFERENCE_DIGEST_MAX + 1];
        char diff_id[REFERENCE_DIGEST_MAX + 1]; /* "" until crisp-image came to it */
        enum pull_layer_state state;
        int64_t bytes, total;
        bool done;
};

struct pull_progress {
        const char *reference; /* in full, or "A or B" of a short name; borrowed */
        const char *asked;     /* the name as it was first asked for; borrowed */
        const char *step;      /* "waiting for a turn", "downloading", "storing" */
        int64_t since;         /* when it was asked for; real time, ns */
        int64_t step_since;    /* the same of its step */
        unsigned waiters;
        const struct pull_layer *layers; /* borrowed */
        size_t layer_count;
};

/* The pull after *cursor (start with 0): false at the end. What is borrowed is good until the
 * caller waits. */
bool pull_next(const struct puller *puller, size_t *cursor, struct pull_progress *progress);

/* Numbers since the start. */
struct pull_counts {
        uint64_t started, joined, succeeded, failed, cancelled;
        uint64_t queued;    /* had to wait for a turn: the bound was reached */
        uint64_t shared;    /* layers that were waited for while another pull fetched them */
        uint64_t overtaken; /* and were not waited for any longer: too slow, or for too long */
        uint64_t no_room;   /* failed for want of room on the disk or another bound */
        uint64_t timed_out; /* failed with a deadline */
        uint64_t bytes;     /* compressed bytes of layers that came */
};
void pull_counts(const struct puller *puller, struct pull_counts *counts);

#endif
