#include "cri/call_metrics.h"

#include <pthread.h>

#define UNKNOWN "unknown"

static struct {
        pthread_mutex_t lock; /* protects what follows */
        struct call_metric methods[CALL_METRICS_METHODS_MAX];
        size_t count;
} calls = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* By the literal's address: a method is in one table. Null where there is no room. */
static struct call_metric *find(const char *method)
{
        for (size_t i = 0; i < calls.count; i++)
                if (calls.methods[i].method == method)
                        return &calls.methods[i];
        if (calls.count == CALL_METRICS_METHODS_MAX)
                return NULL;
        calls.methods[calls.count].method = method;
        return &calls.methods[calls.count++];
}

void call_metrics_note(const char *method, enum error_code code, int64_t nanoseconds)
{
        static const char unknown[] = UNKNOWN;
        pthread_mutex_lock(&calls.lock);
        struct call_metric *metric = find(method ? method : unknown);
        if (metric) {
                histogram_add(&metric->latency, nanoseconds);
                if (code != ERROR_OK && code <= ERROR_UNAUTHENTICATED)
                        metric->errors[code]++;
        }
        pthread_mutex_unlock(&calls.lock);
}

int call_metrics_get(size_t at, struct call_metric *metric)
{
        pthread_mutex_lock(&calls.lock);
        int there = at < calls.count;
        if (there)
                *metric = calls.methods[at];
        pthread_mutex_unlock(&calls.lock);
        return there;
}
