#include "cri/stream/pump.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/memory.h"

#define STACK_SIZE (256 * 1024) /* bytes of address space */

struct posted {
        void (*function)(void *argument);
        void *argument;
        struct posted *next;
};

struct pump {
        pthread_t thread;
        int epoll;
        int wake; /* eventfd */
        pthread_mutex_t lock;
        struct posted *first, **last; /* under the lock */
        bool stop;                    /* likewise */
        struct pump_timer *timers;    /* the pump's thread's */
};

void pump_post(struct pump *pump, void (*function)(void *argument), void *argument)
{
        static const uint64_t one = 1;
        struct posted *posted = xcalloc(1, sizeof *posted);
        *posted = (struct posted){.function = function, .argument = argument};
        pthread_mutex_lock(&pump->lock);
        *pump->last = posted;
        pump->last = &posted->next;
        pthread_mutex_unlock(&pump->lock);
        if (write(pump->wake, &one, sizeof one) < 0)
                return; /* its counter is full: it wakes up anyway */
}

/* One after the other: what runs may post more. */
static bool run_posted(struct pump *pump)
{
        uint64_t count;
        if (read(pump->wake, &count, sizeof count) < 0 && errno != EAGAIN)
                abort();
        for (;;) {
                pthread_mutex_lock(&pump->lock);
                struct posted *posted = pump->first;
                if (posted) {
                        pump->first = posted->next;
                        if (!pump->first)
                                pump->last = &pump->first;
                }
                bool stop = pump->stop;
                pthread_mutex_unlock(&pump->lock);
                if (!posted || stop) {
                        free(posted);
                        return stop;
                }
                posted->function(posted->argument);
                free(posted);
        }
}

void pump_watch(struct pump *pump, struct pump_watch *watch, uint32_t events)
{
        if (events == watch->events)
                return;
        struct epoll_event event = {.events = events, .data.ptr = watch};
        int operation = !events ? EPOLL_CTL_DEL : !watch->events ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
        if (epoll_ctl(pump->epoll, operation, watch->fd, &event) < 0)
                assert(!events); /* it is closed already, perhaps */
        watch->events = events;
}

void pump_timer_clear(struct pump *pump, struct pump_timer *timer)
{
        if (!timer->set)
                return;
        timer->set = false;
        if (timer->previous)
                timer->previous->next = timer->next;
        else
                pump->timers = timer->next;
        if (timer->next)
                timer->next->previous = timer->previous;
}

void pump_timer_set(struct pump *pump, struct pump_timer *timer, int64_t deadline)
{
        timer->deadline = deadline;
        if (timer->set)
                return;
        timer->set = true;
        timer->previous = NULL;
        timer->next = pump->timers;
        if (pump->timers)
                pump->timers->previous = timer;
        pump->timers = timer;
}

/* There are as many timers as sessions, a few hundred: looked through, not ordered. Returns the
 * next deadline. */
static int64_t run_timers(struct pump *pump)
{
        int64_t now = clock_monotonic(), next = CLOCK_NEVER;
        struct pump_timer *due = NULL;
        for (struct pump_timer *timer = pump->timers; timer; timer = timer->next) {
                if (timer->deadline <= now)
                        due = timer;
                else if (timer->deadline < next)
                        next = timer->deadline;
        }
        if (!due)
                return next;
        pump_timer_clear(pump, due);
        due->callback(due->argument);
        return now; /* perhaps there is another one */
}

static void *run(void *pump_)
{
        struct pump *pump = pump_;
        pthread_setname_np(pthread_self(), "stream");
        for (;;) {
                /* One at a time: what a callback does may end the watch of another event. */
                struct epoll_event event;
                int count =
                        epoll_wait(pump->epoll, &event, 1, clock_poll_timeout(run_timers(pump)));
                if (count < 0 && errno != EINTR)
                        abort();
                if (count <= 0)
                        continue;
                if (event.data.ptr) {
                        struct pump_watch *watch = event.data.ptr;
                        watch->callback(watch->argument, event.events);
                } else if (run_posted(pump)) {
                        return NULL;
                }
        }
}

static int start_thread(struct pump *pump, struct error *err)
{
        sigset_t all, old;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, STACK_SIZE);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int number = pthread_create(&pump->thread, &attributes, run, pump);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attributes);
        return number ? error_errno(err, number, "start the streaming thread") : 0;
}

static void pump_free(struct pump *pump)
{
        while (pump->first) {
                struct posted *posted = pump->first;
                pump->first = posted->next;
                free(posted);
        }
        pthread_mutex_destroy(&pump->lock);
        if (pump->epoll >= 0)
                close(pump->epoll);
        if (pump->wake >= 0)
                close(pump->wake);
        free(pump);
}

int pump_start(struct pump **result, struct error *err)
{
        struct pump *pump = xcalloc(1, sizeof *pump);
        struct epoll_event event = {.events = EPOLLIN};
        pthread_mutex_init(&pump->lock, NULL);
        pump->last = &pump->first;
        pump->epoll = epoll_create1(EPOLL_CLOEXEC);
        pump->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int status = 0;
        if (pump->epoll < 0 || pump->wake < 0 ||
            epoll_ctl(pump->epoll, EPOLL_CTL_ADD, pump->wake, &event) < 0)
                status = error_errno(err, errno, "make the streaming thread's descriptors");
        if (status == 0)
                status = start_thread(pump, err);
        if (status < 0)
                pump_free(pump);
        else
                *result = pump;
        return status;
}

static void nothing(void *argument)
{
        (void)argument;
}

void pump_stop(struct pump *pump)
{
        if (!pump)
                return;
        pthread_mutex_lock(&pump->lock);
        pump->stop = true;
        pthread_mutex_unlock(&pump->lock);
        pump_post(pump, nothing, NULL);
        pthread_join(pump->thread, NULL);
        pump_free(pump);
}
