/*
 * fetcher: one run of crisp-image, from the daemon's side.
 *
 * Starts it, hands it the request, hears its replies and waits for its end, within bounds: of time,
 * of what a line and what its log may hold. What it says is not trusted more than the registries it
 * talks to. Task only.
 */
#ifndef CRISP_IMAGE_FETCHER_H
#define CRISP_IMAGE_FETCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "image/offline_request.h"
#include "image/place.h"
#include "image/request.h"

#define FETCHER_LOG_LINES_MAX 200  /* of crisp-image's stderr; the rest is read and dropped */
#define FETCHER_LOG_LINE_MAX  1024 /* bytes */
#define FETCHER_BOOT_ID       "/proc/sys/kernel/random/boot_id"
#define FETCHER_RECORD        "fetcher.json" /* in the staging folder: which process fills it */
#define FETCHER_END_WAIT                                                                           \
        (10 * NSEC_PER_SEC) /* for it to end after its last word, and after a kill */

struct fetcher; /* one that runs */

struct fetcher_options {
        const char *program;
        char *const *environment;
        const struct pull_place *place; /* null: the daemon's cgroup */
        int64_t stall;                  /* ns without a line */
        int64_t deadline;               /* monotonic ns */
        void (*on_progress)(void *argument, const struct fetch_progress *progress);
        /* Decides whether the pull goes on with what was signed; may wait. Called at most once, and
         * only where the request wants signatures. */
        int (*on_signatures)(void *argument, const struct fetch_signatures *found,
                             struct error *err);
        /* It asks whether it shall fetch the layer: to be answered with fetcher_answer, at once or
         * later. Null, as the next: it is told to. */
        void (*on_want)(void *argument, struct fetcher *fetcher, const struct fetch_want *want);
        /* The layer is whole in the staging folder. */
        void (*on_layer)(void *argument, const struct fetch_layer *layer);
        void *argument;
};

/* Until fetcher_run returns. */
void fetcher_answer(struct fetcher *fetcher, const char *diff_id, enum fetch_verdict verdict);

/*
 * Runs the request; the result lives in *arena, which the caller frees. Waits, interruptibly. An
 * error that crisp-image reports comes as it is; -ECANCELED, -ETIMEDOUT (DEADLINE_EXCEEDED) after a
 * kill; INTERNAL where it died or broke the protocol, with its last line of log. *ended is set to
 * whether it has certainly ended, so that its staging folder may be removed.
 */
int fetcher_run(const struct fetcher_options *options, const struct fetch_request *request,
                struct arena **arena, struct fetch_result *result, bool *ended, struct error *err);

/* What is to be done beside a pull. */
struct fetcher_errand {
        const struct offline_request *request;
        int fd; /* borrowed; becomes OFFLINE_FD; -1: none */
        /* Each reply but the error, the last one too. It may wait, and keep arena, where the
         * reply's strings are, by taking it. A negative return ends the run with it. */
        int (*on_reply)(void *argument, const struct offline_reply *reply, struct arena **arena,
                        struct error *err);
        void *argument;
};

/* The same for an errand; of options on_progress and on_signatures do not count. */
int fetcher_run_errand(const struct fetcher_options *options, const struct fetcher_errand *errand,
                       bool *ended, struct error *err);

#endif
