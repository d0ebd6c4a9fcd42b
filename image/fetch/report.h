/*
 * report: what verifying and checking say while they go on: findings, bounded for each object, and
 * progress, a few times a second. One thread.
 */
#ifndef CRISP_IMAGE_FETCH_REPORT_H
#define CRISP_IMAGE_FETCH_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "image/offline_request.h"

struct report {
        /* Set by the caller. */
        void (*say)(void *argument, const struct offline_reply *reply);
        void *argument;
        uint64_t count; /* objects in all; 0: not known */

        char object[256];  /* what findings are about, as report_object has set it */
        unsigned failures; /* of it */
        uint64_t objects, unsaid;
        int64_t told; /* monotonic time of the last progress */
};

/* Begins the next object: "layer sha256:...". */
void report_object(struct report *report, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* A finding about it; failures past OFFLINE_FINDINGS_MAX are counted only. */
void report_finding(struct report *report, enum finding_verdict verdict, const char *what,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));

void report_progress(struct report *report, int64_t bytes, int64_t total);

/* The last word: how many objects there were. */
void report_done(struct report *report);

#endif
