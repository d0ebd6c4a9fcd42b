/*
 * pull_private: what the files of pull share. Nobody else includes this.
 */
#ifndef CRISP_IMAGE_PULL_PRIVATE_H
#define CRISP_IMAGE_PULL_PRIVATE_H

#include "base/task.h"
#include "image/pull.h"
#include "image/share.h"

struct pull {
        struct puller *puller;
        struct pull *next;            /* in puller->first while it can be joined */
        struct reference *candidates; /* what the name may stand for; tried in this order */
        size_t candidate_count;
        char *text;  /* the candidates in full */
        char *asked; /* the name as the first who wants it gave it */
        struct credentials *credentials;
        char *os, *architecture, *variant;
        char *space;
        char *user_specified, *runtime_handler; /* likewise */
        char *pod_cgroup;
        char *trusted; /* what the policy asks of the candidates: who must have more does not join
                        */
        struct task *task;
        unsigned waiters;
        struct event done;
        bool finished;
        int result;
        struct error error;
        char *id;
        const char *step;
        int64_t since, step_since;
        struct pull_layer *layers;
        size_t layer_count;
};

struct puller {
        struct store *store;
        struct sources *sources;
        struct credentials_options credentials;
        struct trust *trust;
        struct verifier_options verifier;
        char *verifier_dir; /* the verifier's own copy of its folder's name */
        char *program;
        char *decryption_keys; /* or null */
        char **environment;
        unsigned parallel;
        int64_t stall, total;
        struct fetch_limits limits;
        struct pull *first;
        unsigned running;
        struct event turn;
        struct pull_counts counts;
        struct share *share;
        int (*enter)(const char *pod_cgroup, const char *name, struct pull_place *place,
                     struct error *err);
        void (*leave)(struct pull_place *place);
        bool by_pod;
        bool leaving; /* the daemon ends */
};

void pull_set_step(struct pull *pull, const char *step); /* a literal */

/* Fetches what the name may stand for, one after the other, until one is stored. Waits. */
int pull_try_candidates(struct pull *pull, struct error *err);

#endif
