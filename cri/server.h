/*
 * server: the CRI socket.
 *
 * gRPC on a unix socket. One thread of the server's own takes calls from gRPC and decodes them;
 * every call then runs as a task on the loop's thread. Which methods there are is read from
 * protobuf-c's service descriptors.
 */
#ifndef CRISP_CRI_SERVER_H
#define CRISP_CRI_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cri/rpc.h"

#define SERVER_MESSAGE_MAX (16u << 20) /* bytes, each way: what the kubelet's client takes */
#define SERVER_CALLS_MAX   10000u      /* under way at once */

struct server;

struct server_options {
        const char *listen; /* absolute path of the socket, with or without unix:// before it;
                               borrowed */
        size_t message_max; /* bytes of one message, each way; 0 is SERVER_MESSAGE_MAX */
        unsigned calls_max; /* calls under way at once, the rest is RESOURCE_EXHAUSTED; 0 is
                               SERVER_CALLS_MAX */
        const struct rpc_service *services; /* borrowed until server_free, with all they point to */
        size_t service_count;
};

/*
 * Makes the socket (mode 0660, replacing one that nobody holds: take the daemon's lock first) and
 * answers calls from then on. The loop must be initialized; calls wait until it runs. Changes the
 * process's umask for a moment, so call it before other threads make files. A new server in
 * *server. The loop's thread.
 */
int server_start(const struct server_options *options, struct server **server, struct error *err);

/*
 * Stops accepting and waits until the calls under way have been answered, or the deadline
 * (monotonic ns); then cancels the rest, which interrupts those that may be. From a task.
 */
void server_stop(struct server *server, int64_t deadline);

/*
 * Closes every connection, ends the server's thread and removes the socket. Blocks for a moment, at
 * most SERVER_END_MAX. The loop's thread, after loop_run has returned and before loop_fini. Null is
 * allowed.
 */
void server_free(struct server *server);
#define SERVER_END_MAX (INT64_C(500000000)) /* ns */

#endif
