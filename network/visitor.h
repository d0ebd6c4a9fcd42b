/*
 * visitor: a thread that goes into a pod's namespaces, does one thing there, and ends.
 *
 * Instead of the calling thread and a setns back: where the way back failed, a worker would do
 * later work in the pod's namespaces. Both functions block; from a task they go through
 * task_offload.
 */
#ifndef CRISP_NETWORK_VISITOR_H
#define CRISP_NETWORK_VISITOR_H

#include "base/error.h"

/* Runs function(argument) on such a thread, and returns what it returned. */
int visitor_run(int (*function)(void *argument), void *argument, struct error *err);

/*
 * A socket belongs to the namespace that it was made in: one that belongs to the network namespace
 * that is pinned at path. type with SOCK_CLOEXEC and the like. *fd is the caller's.
 */
int visitor_socket(const char *path, int family, int type, int protocol, int *fd,
                   struct error *err);

#endif
