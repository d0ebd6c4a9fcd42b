/*
 * clock: times in nanoseconds.
 *
 * Deadlines are monotonic; what a person or a client reads is real time since 1970.
 */
#ifndef CRISP_BASE_CLOCK_H
#define CRISP_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_NEVER   INT64_MAX /* a deadline that does not come */
#define NSEC_PER_SEC  INT64_C(1000000000)
#define NSEC_PER_MSEC INT64_C(1000000)
#define NSEC_PER_USEC INT64_C(1000)

int64_t clock_monotonic(void); /* CLOCK_MONOTONIC, ns */
int64_t clock_real(void);      /* CLOCK_REALTIME, ns since 1970 */

/* The monotonic time this many nanoseconds from now; never overflows. */
int64_t clock_after(int64_t nanoseconds);

/* Milliseconds until a monotonic deadline, rounded up, for poll(2): -1 for CLOCK_NEVER, 0 when
 * past. */
int clock_poll_timeout(int64_t deadline);

#endif
