/*
 * watchdog: tells the service manager, as often as it asks for (WatchdogSec=), that calls are
 * answered.
 *
 * It finds out as a kubelet does: it connects to the daemon's socket and makes a Version call,
 * which passes gRPC's thread and the loop's. A daemon that is there but answers nobody falls
 * silent, and is started again; containers do not notice.
 */
#ifndef CRISP_CRI_WATCHDOG_H
#define CRISP_CRI_WATCHDOG_H

#include <stdint.h>

#include "base/error.h"

/* Starts the task that does so where the service manager asks for it; else does nothing. socket:
 * the path that the daemon serves, which must outlive it. On the loop's thread. */
void watchdog_start(const char *socket);

/* One call to the socket: 0 where it was answered by deadline (monotonic ns). From a task. */
int watchdog_ask(const char *socket, int64_t deadline, struct error *err);

#endif
