/*
 * metrics_machine: metrics that are read from the machine: the daemon's own process, defunct
 * processes, log files.
 */
#ifndef CRISP_CRI_METRICS_MACHINE_H
#define CRISP_CRI_METRICS_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* Adds those of COLLECTOR_PROCESS and COLLECTOR_LOGS, as far as collectors (bits) has them. Loop's
 * thread, from a task; waits for a worker. */
void metrics_machine_write(struct buffer *text, unsigned collectors, bool crio_names);

/* Whether the text of /proc/PID/stat is of a process that has ended and was not reaped. Pure. */
bool metrics_machine_is_defunct(const char *stat);

#endif
