/*
 * pump: the thread that moves streaming sessions' bytes.
 *
 * One thread for all sessions: each is a set of descriptors that it watches and a deadline. Nothing
 * on it waits for anything but epoll. Unless a function says otherwise, it is called on the pump's
 * thread.
 */
#ifndef CRISP_CRI_STREAM_PUMP_H
#define CRISP_CRI_STREAM_PUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct pump;

/* Zeroes are a valid watch that watches nothing. Its memory is the caller's. */
struct pump_watch {
        int fd;
        uint32_t
                events; /* EPOLLIN, EPOLLOUT; 0: in no epoll set, so that a hang-up does not spin */
        void (*callback)(void *argument, uint32_t events);
        void *argument;
};

/* Zeroes are a valid timer that is not set. */
struct pump_timer {
        int64_t deadline; /* monotonic ns */
        void (*callback)(void *argument);
        void *argument;
        bool set;
        struct pump_timer *previous, *next;
};

/* Starts the thread. Any thread. */
int pump_start(struct pump **pump, struct error *err);
/* Ends it, with what was posted and has not run, and frees it. Any other thread; null is allowed.
 */
void pump_stop(struct pump *pump);

/* Runs function(argument) on the pump's thread, in the order of posting. Any thread. */
void pump_post(struct pump *pump, void (*function)(void *argument), void *argument);

/* Which events are waited for from now on. May be called from a callback, its own as well. */
void pump_watch(struct pump *pump, struct pump_watch *watch, uint32_t events);

/* Sets it anew; it goes off once. */
void pump_timer_set(struct pump *pump, struct pump_timer *timer, int64_t deadline);
void pump_timer_clear(struct pump *pump, struct pump_timer *timer); /* not set is fine */

#endif
