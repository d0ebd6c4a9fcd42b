/*
 * report: what a static program says of its start, once, on MONITOR_REPORT_FD (protocol.h); each of
 * these closes it. A daemon that has gone meanwhile hears nothing: it asks when it is back.
 */
#ifndef CRISP_CONMON_REPORT_H
#define CRISP_CONMON_REPORT_H

#include <stdint.h>
#include <sys/types.h>

#include "conmon/text.h"

void report_ok(pid_t pid, uint64_t start_time);
/* status as of waitpid(2); text: what the runtime said. */
void report_runtime_failed(int status, const struct text *text);
/* number: an errno value, positive or negative; path may be null. */
void report_failed(int number, const char *step, const char *path);

#endif
