#include "image/fetch/desk.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

void desk_init(struct desk *desk)
{
        pthread_condattr_t attributes;

        pthread_mutex_init(&desk->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&desk->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        desk->answers = table_new();
        desk->closed = false;
        desk->changes = 0;
}

void desk_fini(struct desk *desk)
{
        table_free(desk->answers);
        pthread_cond_destroy(&desk->changed);
        pthread_mutex_destroy(&desk->mutex);
}

void desk_answer(struct desk *desk, const char *diff_id, enum fetch_verdict verdict)
{
        pthread_mutex_lock(&desk->mutex);
        table_put(desk->answers, diff_id, (void *)(uintptr_t)verdict);
        desk->changes++;
        pthread_cond_broadcast(&desk->changed);
        pthread_mutex_unlock(&desk->mutex);
}

void desk_close(struct desk *desk)
{
        pthread_mutex_lock(&desk->mutex);
        desk->closed = true;
        desk->changes++;
        pthread_cond_broadcast(&desk->changed);
        pthread_mutex_unlock(&desk->mutex);
}

bool desk_is_closed(struct desk *desk)
{
        pthread_mutex_lock(&desk->mutex);
        bool closed = desk->closed;
        pthread_mutex_unlock(&desk->mutex);
        return closed;
}

enum fetch_verdict desk_look(struct desk *desk, const char *diff_id)
{
        pthread_mutex_lock(&desk->mutex);
        enum fetch_verdict verdict =
                (enum fetch_verdict)(uintptr_t)table_get(desk->answers, diff_id);
        if (desk->closed && verdict != FETCH_ANSWER_PRESENT)
                verdict = FETCH_ANSWER_FETCH;
        pthread_mutex_unlock(&desk->mutex);
        return verdict;
}

unsigned desk_changes(struct desk *desk)
{
        pthread_mutex_lock(&desk->mutex);
        unsigned changes = desk->changes;
        pthread_mutex_unlock(&desk->mutex);
        return changes;
}

void desk_wait(struct desk *desk, unsigned seen, int64_t milliseconds)
{
        int64_t deadline = clock_after(milliseconds * NSEC_PER_MSEC);
        struct timespec until = {deadline / NSEC_PER_SEC, deadline % NSEC_PER_SEC};

        pthread_mutex_lock(&desk->mutex);
        while (desk->changes == seen &&
               pthread_cond_timedwait(&desk->changed, &desk->mutex, &until) != ETIMEDOUT)
                ;
        pthread_mutex_unlock(&desk->mutex);
}
