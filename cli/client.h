/*
 * client: calls to the daemon over its socket.
 *
 * gRPC, used from one thread: each call has a completion queue of its own and is waited for with
 * call_next, so several may be under way. A process that ends closes its connection, which is what
 * cancels its calls in the daemon: nothing needs to be done about signals.
 *
 * Errors of the daemon come with its own code and words.
 */
#ifndef CRISP_CLI_CLIENT_H
#define CRISP_CLI_CLIENT_H

#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

#define CLIENT_MESSAGE_MAX (64u << 20)         /* bytes of a reply: more than a daemon sends */
#define CLIENT_DEADLINE    (60 * NSEC_PER_SEC) /* for a call that is answered from memory */

struct client;
struct client_call;

/*
 * Connects to the socket at path. Blocks for a moment. UNAVAILABLE "crisp is not running: PATH:
 * ..." where nobody listens, PERMISSION_DENIED where we may not connect.
 */
int client_open(const char *path, struct client **client, struct error *err);
void client_close(struct client *client); /* no call may be left; null is allowed */

/*
 * Starts a call of the service's method, which its descriptor must have. deadline is monotonic.
 * Never null; what goes wrong is told by call_next.
 */
struct client_call *call_start(struct client *client, const ProtobufCServiceDescriptor *service,
                               const char *method, const ProtobufCMessage *request,
                               int64_t deadline);

/*
 * Blocks for the call's next message, until the monotonic time until. Returns
 *     1           *message is one; the caller frees it with message_free
 *     0           the call has ended and there is no further message
 *     -EAGAIN     the time has come; err is untouched
 *     other       it failed: err has the daemon's code and words
 * What came at the end comes again when asked for again.
 */
int call_next(struct client_call *call, int64_t until, ProtobufCMessage **message,
              struct error *err);

/* Ends the call if it is still under way, and frees it; null is allowed. */
void call_free(struct client_call *call);

/* A whole call with one reply. INTERNAL where the daemon ends it well without one. */
int client_ask(struct client *client, const ProtobufCServiceDescriptor *service, const char *method,
               const ProtobufCMessage *request, int64_t deadline, ProtobufCMessage **response,
               struct error *err);

void message_free(ProtobufCMessage *message); /* null is allowed */

/* All messages of a stream. */
struct messages {
        ProtobufCMessage **list;
        size_t count;
};

/* A whole call with a stream of replies, which are added to *messages, also where it fails. */
int client_gather(struct client *client, const ProtobufCServiceDescriptor *service,
                  const char *method, const ProtobufCMessage *request, int64_t deadline,
                  struct messages *messages, struct error *err);
void messages_free(struct messages *messages);
#define AUTO_MESSAGES CLEANUP(messages_free) /* a struct messages of zeroes */

static inline void cleanup_client(struct client **client)
{
        client_close(*client);
}
#define AUTO_CLIENT CLEANUP(cleanup_client)

static inline void cleanup_call(struct client_call **call)
{
        call_free(*call);
}
#define AUTO_CALL CLEANUP(cleanup_call)

static inline void cleanup_message(void *message)
{
        message_free(*(ProtobufCMessage **)message);
}
#define AUTO_MESSAGE CLEANUP(cleanup_message) /* a pointer to any message of protobuf-c */

#endif
