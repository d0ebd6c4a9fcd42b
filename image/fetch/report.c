#include "image/fetch/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

#define PERIOD (250 * NSEC_PER_MSEC)

void report_object(struct report *report, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(report->object, sizeof(report->object), format, arguments);
        va_end(arguments);
        report->failures = 0;
        report->objects++;
}

void report_finding(struct report *report, enum finding_verdict verdict, const char *what,
                    const char *format, ...)
{
        char text[OFFLINE_TEXT_MAX];
        va_list arguments;

        if (verdict == FINDING_FAIL && report->failures++ >= OFFLINE_FINDINGS_MAX) {
                report->unsaid++;
                return;
        }
        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        struct offline_reply reply = {
                .kind = OFFLINE_SAYS_FINDING,
                .finding = {verdict, report->object, what, text},
        };
        report->say(report->argument, &reply);
}

void report_progress(struct report *report, int64_t bytes, int64_t total)
{
        int64_t now = clock_monotonic();

        if (now - report->told < PERIOD)
                return;
        report->told = now;
        struct offline_reply reply = {
                .kind = OFFLINE_SAYS_PROGRESS,
                .progress = {report->object, bytes, total,
                             report->objects ? report->objects - 1 : 0, report->count},
        };
        report->say(report->argument, &reply);
}

void report_done(struct report *report)
{
        struct offline_reply reply = {
                .kind = OFFLINE_SAYS_DONE,
                .objects = report->objects,
                .unsaid = report->unsaid,
        };
        report->say(report->argument, &reply);
}
