/*
 * call: the life of one gRPC call, from the request for it to the last of its operations.
 *
 * A call is touched by two threads in turn: the server's thread takes it from gRPC, reads and
 * decodes its message and hands it to the loop's thread; a task there runs the handler and starts
 * the reply; the server's thread hears when that is out. It is counted by reference, one for each
 * gRPC operation under way and one for each thing that the loop's thread still has to do with it,
 * and the last one frees it, on either thread.
 *
 * For server.c alone; handlers see cri/rpc.h.
 */
#ifndef CRISP_CRI_CALL_H
#define CRISP_CRI_CALL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <grpc/grpc.h>

#include "base/task.h"
#include "cri/dispatch.h"

/* What a completion queue's tag points to. ok is false when the operation failed or was cut off by
 * a shutdown. */
struct call_operation {
        void (*done)(void *owner, bool ok); /* on the server's thread */
        void *owner;
};

/* All calls of a server. */
struct call_set {
        const struct dispatch *dispatch;
        grpc_server *server;
        grpc_completion_queue *queue;
        size_t message_max; /* bytes */
        unsigned calls_max;

        /*
         * Goes up before each operation, and is read after each: what was written before is seen
         * after. gRPC takes care of that, but the tools that look for races cannot see into it.
         */
        atomic_uint handed_over;

        pthread_mutex_t lock; /* protects what follows */
        struct rpc_call *first;
        unsigned count;
        uint64_t last_id;
        bool closing;         /* the loop's thread takes nothing any more */
        bool server_gone;     /* gRPC's server has let go of its connections; calls may be left */
        bool notify;          /* call_set_drain wants to know when count is 0 */
        pthread_cond_t ended; /* count is 0, or server_gone has changed */

        bool drained; /* the loop's thread's: count has become 0 after call_set_notify */
        struct event drained_event;
};

/* Its fields up to the lock are the server's to fill. */
void call_set_init(struct call_set *set);
void call_set_fini(struct call_set *set);

/* Asks gRPC for the next call, and after that one for the next. Before the server's thread runs, or
 * on it. */
void call_request(struct call_set *set);

/* Ends an operation that the completion queue gave back. The server's thread. */
void call_operation_end(struct call_set *set, struct call_operation *operation, bool ok);

/* From a task: waits until no call is left, or the deadline: -ETIMEDOUT. For a server that was shut
 * down. */
int call_set_drain(struct call_set *set, int64_t deadline);

/* Tells that no connection is left. The server's thread. */
void call_set_server_gone(struct call_set *set);

/*
 * The loop's thread, when loop_run has returned: gives up everything that this thread would still
 * have done, and blocks until no call is left and the server is gone, or the deadline (real ns):
 * -ETIMEDOUT. Only then may the completion queue be shut down: an operation that starts afterwards
 * makes gRPC abort.
 */
int call_set_end(struct call_set *set, int64_t deadline);

#endif
