#include "base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define WORKER_STACK_SIZE   (256 * 1024) /* bytes */
#define WORKER_IDLE_SECONDS 10

static struct {
        pthread_mutex_t lock; /* protects all of this */
        pthread_cond_t work, idle_ended;
        struct worker_job *first, **last;
        unsigned threads, idle, max;
        bool stopping;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .idle_ended = PTHREAD_COND_INITIALIZER};

static struct worker_job *take_job(void)
{
        struct worker_job *job = pool.first;
        if (job) {
                pool.first = job->next;
                if (!pool.first)
                        pool.last = &pool.first;
        }
        return job;
}

static void *worker_main(void *argument)
{
        (void)argument;
        pthread_mutex_lock(&pool.lock);
        while (!pool.stopping) {
                struct worker_job *job = take_job();
                if (job) {
                        pthread_mutex_unlock(&pool.lock);
                        job->run(job);
                        pthread_mutex_lock(&pool.lock);
                        continue;
                }
                struct timespec until;
                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_sec += WORKER_IDLE_SECONDS;
                pool.idle++;
                int result = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
                pool.idle--;
                if (result == ETIMEDOUT && !pool.first)
                        break;
        }
        pool.threads--;
        pthread_cond_broadcast(&pool.idle_ended);
        pthread_mutex_unlock(&pool.lock);
        return NULL;
}

void worker_pool_init(unsigned max_threads)
{
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&pool.work, &attributes);
        pthread_condattr_destroy(&attributes);
        pthread_mutex_lock(&pool.lock);
        pool.first = NULL;
        pool.last = &pool.first;
        pool.max = max_threads ? max_threads : 1;
        pool.stopping = false;
        pthread_mutex_unlock(&pool.lock);
}

/* With the lock held. Signals are for the loop's thread: workers block them all. */
static void start_thread(void)
{
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        pthread_attr_setstacksize(&attributes, WORKER_STACK_SIZE);
#endif
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        pthread_t thread;
        if (pthread_create(&thread, &attributes, worker_main, NULL) == 0)
                pool.threads++;
        else if (!pool.threads)
                abort(); /* without one thread nothing would ever go on */
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
}

void worker_submit(struct worker_job *job)
{
        job->next = NULL;
        pthread_mutex_lock(&pool.lock);
        unsigned waiting = 1;
        for (struct worker_job *other = pool.first; other && waiting <= pool.idle;
             other = other->next)
                waiting++;
        *pool.last = job;
        pool.last = &job->next;
        if (waiting > pool.idle && pool.threads < pool.max)
                start_thread();
        pthread_cond_signal(&pool.work);
        pthread_mutex_unlock(&pool.lock);
}

void worker_pool_fini(void)
{
        pthread_mutex_lock(&pool.lock);
        pool.stopping = true;
        pool.first = NULL;
        pool.last = &pool.first;
        pthread_cond_broadcast(&pool.work);
        while (pool.idle)
                pthread_cond_wait(&pool.idle_ended, &pool.lock);
        pthread_mutex_unlock(&pool.lock);
}
