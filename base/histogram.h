/*
 * histogram: how long something took, how often.
 *
 * Zeroes are a new one. One thread at a time.
 */
#ifndef CRISP_BASE_HISTOGRAM_H
#define CRISP_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 10 /* with a bound; what is longer is in none of them */

extern const int64_t histogram_bounds[HISTOGRAM_BUCKETS]; /* ns, 1 ms to 2 minutes */

struct histogram {
        uint64_t count;
        int64_t sum;                      /* ns */
        uint64_t upto[HISTOGRAM_BUCKETS]; /* how many took no longer than that bound */
};

void histogram_add(struct histogram *histogram, int64_t nanoseconds);

#endif
