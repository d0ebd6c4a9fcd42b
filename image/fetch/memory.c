#include "image/fetch/memory.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "image/fetch/limits.h"

#define LOOK       200 /* ms: who waits sees that it is given up by then */
#define PARTS_WAIT NSEC_PER_SEC

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static size_t windows, parts; /* bytes */
static unsigned waiting;

static pthread_mutex_t keeper_mutex = PTHREAD_MUTEX_INITIALIZER; /* taken before the other one */
static void (*keeper)(void *argument);
static void *keeper_argument;

static size_t share_of(size_t bytes)
{
        return bytes < FETCH_MEMORY_BYTES ? bytes : FETCH_MEMORY_BYTES;
}

static void ask_keeper(void)
{
        pthread_mutex_lock(&keeper_mutex);
        if (keeper)
                keeper(keeper_argument);
        pthread_mutex_unlock(&keeper_mutex);
}

void memory_set_keeper(void (*reclaim)(void *argument), void *argument)
{
        pthread_mutex_lock(&keeper_mutex);
        keeper = reclaim;
        keeper_argument = argument;
        pthread_mutex_unlock(&keeper_mutex);
}

static void await_change(void)
{
        int64_t deadline = clock_real() + LOOK * NSEC_PER_MSEC;
        struct timespec until = {deadline / NSEC_PER_SEC, deadline % NSEC_PER_SEC};
        pthread_cond_timedwait(&changed, &mutex, &until);
}

/* The mutex is held. */
static bool take_window(size_t share, bool beside_parts)
{
        size_t others = windows + (beside_parts ? 0 : parts);
        if (others + share > FETCH_MEMORY_BYTES)
                return false;
        windows += share;
        return true;
}

bool memory_take_window(size_t bytes, bool (*given_up)(void *argument), void *argument)
{
        int64_t until = clock_after(PARTS_WAIT);
        size_t share = share_of(bytes);
        bool got = false, end = false;

        pthread_mutex_lock(&mutex);
        waiting++;
        while (!(got = take_window(share, clock_monotonic() >= until))) {
                pthread_mutex_unlock(&mutex);
                ask_keeper();
                end = given_up(argument);
                pthread_mutex_lock(&mutex);
                got = take_window(share, false);
                if (got || end)
                        break;
                await_change();
        }
        waiting--;
        pthread_mutex_unlock(&mutex);
        return got;
}

void memory_give_window(size_t bytes)
{
        pthread_mutex_lock(&mutex);
        windows -= share_of(bytes);
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&mutex);
}

bool memory_take_part(size_t bytes)
{
        pthread_mutex_lock(&mutex);
        bool got = waiting == 0 && windows + parts + bytes <= FETCH_MEMORY_BYTES;
        if (got)
                parts += bytes;
        pthread_mutex_unlock(&mutex);
        return got;
}

void memory_give_part(size_t bytes)
{
        pthread_mutex_lock(&mutex);
        parts -= bytes;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&mutex);
}
