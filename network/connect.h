/*
 * connect: a connection into a pod's network namespace.
 */
#ifndef CRISP_NETWORK_CONNECT_H
#define CRISP_NETWORK_CONNECT_H

#include <stdint.h>

#include "base/error.h"

/*
 * Connects to the port on the loopback of the network namespace that is pinned at path (null: our
 * own): 127.0.0.1 first, then ::1. *fd is close-on-exec and non-blocking. UNAVAILABLE with both
 * failures where neither answers. Task only, interruptible if the task is; deadline is monotonic
 * ns.
 */
int connect_loopback(const char *path, uint16_t port, int64_t deadline, int *fd, struct error *err);

#endif
