/*
 * timer: the loop's calls at a time, soonest first.
 *
 * The part below base/task.h that keeps deadlines; others use timer_new and task_wait from there.
 * The loop's thread only.
 */
#ifndef CRISP_BASE_TIMER_H
#define CRISP_BASE_TIMER_H

#include <stddef.h>
#include <stdint.h>

/* Zeroes are a valid entry that is not waiting. Its memory is the caller's. */
struct timer_entry {
        int64_t deadline; /* monotonic, ns */
        void (*callback)(void *);
        void *argument;
        size_t position; /* in the heap, from 1; 0 when not in it */
};

void timer_add(struct timer_entry *entry, int64_t deadline, void (*callback)(void *),
               void *argument);
void timer_remove(struct timer_entry *entry); /* not in the heap is fine */

/* The soonest deadline, or CLOCK_NEVER. */
int64_t timer_next(void);
/* Takes out each entry whose time has come and calls it. */
void timer_run_due(int64_t now);

#endif
