/*
 * daemon: `crisp serve` from its start to its end.
 */
#ifndef CRISP_CRI_DAEMON_H
#define CRISP_CRI_DAEMON_H

#include "base/error.h"
#include "cri/config.h"

/*
 * Answers the CRI until SIGTERM, SIGINT or SIGHUP, then ends within a second; containers go on.
 * What goes wrong is logged. config stays the caller's. Returns 0 after an orderly end, or a
 * negative errno when it could not start. The main thread, once, before there are others.
 */
int daemon_serve(const struct config *config);

/*
 * Locks run_dir for this process: two daemons on one folder would take each other's sockets and
 * records. Returns a descriptor that holds the lock while it is open, or -EBUSY
 * (FAILED_PRECONDITION, with the other's process id).
 */
int daemon_lock(const char *run_dir, struct error *err);

#endif
