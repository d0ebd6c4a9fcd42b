/*
 * dispatch: which methods there are, and messages to and from bytes.
 *
 * Read from protobuf-c's descriptors; knows nothing of sockets. A built dispatch is not changed any
 * more: any thread.
 */
#ifndef CRISP_CRI_DISPATCH_H
#define CRISP_CRI_DISPATCH_H

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "cri/rpc.h"

struct dispatch;

struct dispatch_method {
        const ProtobufCMethodDescriptor *descriptor;
        const struct rpc_method *rpc; /* null where nobody answers it */
};

/* services are borrowed until dispatch_free. A handler for a method that its service has not is our
 * mistake: it aborts. */
struct dispatch *dispatch_new(const struct rpc_service *services, size_t count);
void dispatch_free(struct dispatch *dispatch); /* null is allowed */

/*
 * The method of a request path ("/runtime.v1.RuntimeService/Version"), with a handler. Null with
 * UNIMPLEMENTED in err, which names the path, for all others.
 */
const struct dispatch_method *dispatch_find(const struct dispatch *dispatch, const char *path,
                                            struct error *err);

/*
 * Decodes a request into the arena, *message. INVALID_ARGUMENT when the bytes are none;
 * RESOURCE_EXHAUSTED when the message would need more than memory_max bytes of memory: a few bytes
 * can stand for a large structure.
 */
int dispatch_decode(const struct dispatch_method *method, struct arena *arena, const void *bytes,
                    size_t length, size_t memory_max, const ProtobufCMessage **message,
                    struct error *err);

/* An empty response of the method, in the arena. */
ProtobufCMessage *dispatch_response(const struct dispatch_method *method, struct arena *arena);

#endif
