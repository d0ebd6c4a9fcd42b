/*
 * desk: what the daemon answers about layers, on its way to the threads that asked.
 *
 * Any thread.
 */
#ifndef CRISP_IMAGE_FETCH_DESK_H
#define CRISP_IMAGE_FETCH_DESK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/table.h"
#include "image/request.h"

struct desk {
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        struct table *answers; /* by diff ID */
        bool closed;
        unsigned changes;
};

void desk_init(struct desk *desk);
void desk_fini(struct desk *desk);

/* Takes in an answer; a later one about the same layer counts. */
void desk_answer(struct desk *desk, const char *diff_id, enum fetch_verdict verdict);

/* Nobody answers any more: what is not known to be present is ours to fetch. */
void desk_close(struct desk *desk);
bool desk_is_closed(struct desk *desk);

/* What was said about the layer last. */
enum fetch_verdict desk_look(struct desk *desk, const char *diff_id);

/* Waits until something was said since desk_changes gave seen, that many milliseconds at most. */
unsigned desk_changes(struct desk *desk);
void desk_wait(struct desk *desk, unsigned seen, int64_t milliseconds);

#endif
