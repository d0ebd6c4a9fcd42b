#include "image/fetch/stop.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

void stop_init(struct stop *stop)
{
        pthread_condattr_t attributes;

        pthread_mutex_init(&stop->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&stop->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        stop->set = false;
}

void stop_fini(struct stop *stop)
{
        pthread_cond_destroy(&stop->changed);
        pthread_mutex_destroy(&stop->mutex);
}

void stop_set(struct stop *stop)
{
        pthread_mutex_lock(&stop->mutex);
        stop->set = true;
        pthread_cond_broadcast(&stop->changed);
        pthread_mutex_unlock(&stop->mutex);
}

bool stop_is_set(struct stop *stop)
{
        pthread_mutex_lock(&stop->mutex);
        bool set = stop->set;
        pthread_mutex_unlock(&stop->mutex);
        return set;
}

bool stop_wait(struct stop *stop, int64_t milliseconds)
{
        int64_t deadline = clock_after(milliseconds * NSEC_PER_MSEC);
        struct timespec until = {deadline / NSEC_PER_SEC, deadline % NSEC_PER_SEC};

        pthread_mutex_lock(&stop->mutex);
        while (!stop->set &&
               pthread_cond_timedwait(&stop->changed, &stop->mutex, &until) != ETIMEDOUT)
                ;
        bool set = stop->set;
        pthread_mutex_unlock(&stop->mutex);
        return set;
}
