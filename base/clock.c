#include "base/clock.h"

#include <limits.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
        struct timespec now;
        clock_gettime(id, &now);
        return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

int64_t clock_monotonic(void)
{
        return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_real(void)
{
        return read_clock(CLOCK_REALTIME);
}

int64_t clock_after(int64_t nanoseconds)
{
        int64_t deadline;
        if (__builtin_add_overflow(clock_monotonic(), nanoseconds, &deadline))
                return nanoseconds < 0 ? 0 : CLOCK_NEVER;
        return deadline;
}

int clock_poll_timeout(int64_t deadline)
{
        if (deadline == CLOCK_NEVER)
                return -1;
        int64_t left = deadline - clock_monotonic();
        if (left <= 0)
                return 0;
        int64_t milliseconds = left / NSEC_PER_MSEC + (left % NSEC_PER_MSEC != 0);
        return milliseconds > INT_MAX ? INT_MAX : (int)milliseconds;
}
