/*
 * clock: the two times that the static programs read, in nanoseconds.
 */
#ifndef CRISP_CONMON_CLOCK_H
#define CRISP_CONMON_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NANOSECONDS INT64_C(1000000000) /* in a second */

static inline int64_t clock_now(clockid_t clock)
{
        struct timespec now;

        clock_gettime(clock, &now);
        return now.tv_sec * NANOSECONDS + now.tv_nsec;
}

#endif
