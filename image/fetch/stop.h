/*
 * stop: how one layer's failure ends the others.
 *
 * Set once, from any thread; waits that look at it end at once.
 */
#ifndef CRISP_IMAGE_FETCH_STOP_H
#define CRISP_IMAGE_FETCH_STOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct stop {
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        bool set;
};

void stop_init(struct stop *stop);
void stop_fini(struct stop *stop);
void stop_set(struct stop *stop);
bool stop_is_set(struct stop *stop);
/* Waits that many milliseconds; true at once when it is or gets set. */
bool stop_wait(struct stop *stop, int64_t milliseconds);

#endif
