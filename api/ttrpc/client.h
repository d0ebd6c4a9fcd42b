/*
 * client: calls over ttrpc, any number at a time on one connection.
 *
 * All functions belong to the loop's thread; those that wait say so and must be called from a task.
 */
#ifndef CRISP_API_TTRPC_CLIENT_H
#define CRISP_API_TTRPC_CLIENT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

#define TTRPC_ADDRESS_MAX 108  /* bytes of a socket's path, as the kernel bounds it */
#define TTRPC_CALLS_MAX   1024 /* at a time on one connection */

/*
 * Connects to "unix:///path", "/path", or an abstract socket: "unix://@name", "@name", and a name
 * with nothing before it, as the first shims wrote it (prefix_optional: such names count). *fd is
 * close-on-exec and does not block. Task only; waits while the socket's backlog is full. NOT_FOUND
 * where nobody listens; INVALID_ARGUMENT for an address of another kind.
 */
int ttrpc_dial(const char *address, int64_t deadline, int *fd, struct error *err);

struct ttrpc_client;

/* The connection has ended; once, on the loop's thread. Calls under way fail by themselves. May
 * free the client. */
typedef void ttrpc_closed_function(void *argument);

/* Takes fd, a connected stream socket, also on failure. on_closed may be null. */
int ttrpc_client_new(int fd, ttrpc_closed_function *on_closed, void *argument,
                     struct ttrpc_client **client, struct error *err);
/* Calls under way fail with CANCELLED. Null is allowed. */
void ttrpc_client_free(struct ttrpc_client *client);
bool ttrpc_client_has_ended(const struct ttrpc_client *client);

/*
 * One call: sends the request and waits for the answer until deadline (monotonic ns, or
 * CLOCK_NEVER), which the other side is told. *response, of that type, is freed by the caller with
 * protobuf_c_message_free_unpacked(.., NULL); response may be null where nobody wants it. Errors:
 * what the other side answered, its code and words as they are (NOT_FOUND ...); UNAVAILABLE when
 * the connection has ended; DEADLINE_EXCEEDED, CANCELLED; DATA_LOSS for an answer that is none.
 * Task only; interruptible if the task is.
 */
int ttrpc_call(struct ttrpc_client *client, const char *service, const char *method,
               const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
               int64_t deadline, ProtobufCMessage **response, struct error *err);

/*
 * Asks, and goes on: for an answer that may be long in coming. on_answer hears it on the loop's
 * thread, outside any task: why is null for an answer, else what the other side answered in its
 * stead. method stays the caller's and must outlive the call. It is not called when the connection
 * ends before (on_closed tells that) or is freed; it must not free the client. Errors: UNAVAILABLE,
 * RESOURCE_EXHAUSTED, and then nothing is on its way.
 */
typedef void ttrpc_answer_function(void *argument, const struct error *why);
int ttrpc_ask(struct ttrpc_client *client, const char *service, const char *method,
              const ProtobufCMessage *request, ttrpc_answer_function *on_answer, void *argument,
              struct error *err);

/* The request's frame whole, as ttrpc_call would send it first on a new connection, for who has it
 * sent by another. timeout (ns) 0 is none. */
void ttrpc_request_frame(uint32_t stream, const char *service, const char *method,
                         const ProtobufCMessage *request, int64_t timeout, struct buffer *frame);

#endif
