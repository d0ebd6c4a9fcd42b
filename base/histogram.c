#include "base/histogram.h"

#include <stddef.h>

#include "base/clock.h"

const int64_t histogram_bounds[HISTOGRAM_BUCKETS] = {
        1 * NSEC_PER_MSEC,   5 * NSEC_PER_MSEC,  25 * NSEC_PER_MSEC, 100 * NSEC_PER_MSEC,
        500 * NSEC_PER_MSEC, 1 * NSEC_PER_SEC,   5 * NSEC_PER_SEC,   10 * NSEC_PER_SEC,
        60 * NSEC_PER_SEC,   120 * NSEC_PER_SEC,
};

void histogram_add(struct histogram *histogram, int64_t nanoseconds)
{
        histogram->count++;
        histogram->sum += nanoseconds;
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
                histogram->upto[i] += nanoseconds <= histogram_bounds[i];
}
