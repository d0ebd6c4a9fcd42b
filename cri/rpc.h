/*
 * rpc: what a handler of a CRI call sees of it.
 *
 * Each call runs as a task of its own on the loop's thread. Its handler reads the decoded request,
 * may wait as tasks do, and fills the response. Everything of the call lives in one arena and goes
 * with it.
 *
 * All functions here: the loop's thread only.
 */
#ifndef CRISP_CRI_RPC_H
#define CRISP_CRI_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/error.h"

struct rpc_call; /* the transport's side */

struct rpc {
        struct arena *arena; /* freed with the call, after the reply was packed */
        const char *method;  /* "RunPodSandbox" */
        const char *id;      /* for logs: unique while the daemon lives */
        int64_t deadline;    /* monotonic ns, from the client; CLOCK_NEVER where it gave none */

        struct rpc_call *call; /* null where nobody called: a test, another handler */
};

/*
 * Answers one call. request is a message of the method's input type, response one of its output
 * type, initialized and empty; both are in the arena. What response points to may belong to anyone:
 * it is packed as soon as the handler has returned, before any other task runs. Strings that are
 * not UTF-8 are mended on the way out.
 *
 * Returns 0, or a negative errno with err filled: then the client gets err's code and text, and no
 * response. A server-streaming method sends its messages with rpc_send and leaves response alone.
 */
typedef int rpc_handler(struct rpc *rpc, const void *request, void *response, struct error *err);

struct rpc_method {
        const char *name;     /* as in the .proto: "Version" */
        rpc_handler *handler; /* on the loop's thread, in a task */
        bool interruptible;   /* the client going away, or its deadline, interrupts the task; the
                                 handler says during which waits (task_set_interruptible) */
        bool streaming;       /* the reply is a stream: rpc_send */
};

/* A service and the handlers that it has. Methods of the descriptor without a handler are
 * UNIMPLEMENTED. */
struct rpc_service {
        const ProtobufCServiceDescriptor *descriptor;
        const struct rpc_method *methods;
        size_t count;
};

/* Whether the client has gone away or its deadline has passed. False for a null call. */
bool rpc_cancelled(const struct rpc *rpc);

/*
 * Sends one message of a stream, in a streaming method's task, and waits until the transport has
 * taken it. message is packed before the wait. -ECANCELED (CANCELLED) when the client has gone
 * away: return it.
 */
int rpc_send(struct rpc *rpc, const void *message, struct error *err);

#endif
