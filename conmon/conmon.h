/*
 * conmon: watches one container from before its creation to its end.
 */
#ifndef CRISP_CONMON_CONMON_H
#define CRISP_CONMON_CONMON_H

#include "conmon/options.h"

/*
 * Runs the create command, reports to MONITOR_REPORT_FD, and then writes the log and answers on the
 * socket until the container has ended and its exit is recorded. Expects to be a program of its
 * own, in a session of its own, with descriptors 0, 1 and 2 open and nothing else but the report's.
 * Returns the program's exit status: 0, or 1 when no container came to be (the report says why).
 */
int conmon_run(const struct conmon_options *options);

#endif
