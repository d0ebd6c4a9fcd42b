/*
 * report: starting one of our small static programs and hearing what it says of its start
 * (conmon/protocol.h).
 */
#ifndef CRISP_OCI_REPORT_H
#define CRISP_OCI_REPORT_H

#include <stdint.h>

#include "base/error.h"
#include "base/process.h"
#include "conmon/protocol.h"

/*
 * Starts the program in a session of its own (options' extra_fds are set here) and waits until
 * deadline for its report. 0: *report is whole, its text free of control characters and ended by a
 * zero (so one byte of it may be lost), *pid is the program's; it is reaped when it ends. On
 * failure, and where the report is not MONITOR_REPORT_OK, its process group was killed. what names
 * the program in errors. Task only; waits.
 */
int report_start(const char *what, struct process_options *options, int64_t deadline,
                 struct monitor_report *report, pid_t *pid, struct error *err);

#endif
