/*
 * server: answers ttrpc calls, each in a task of its own.
 *
 * All functions belong to the loop's thread.
 */
#ifndef CRISP_API_TTRPC_SERVER_H
#define CRISP_API_TTRPC_SERVER_H

#include <protobuf-c/protobuf-c.h>
#include <sys/types.h>

#include "base/error.h"

#define TTRPC_CONNECTIONS_MAX 4096 /* of one server; a further one is closed at once */
#define TTRPC_SERVED_MAX                                                                           \
        32 /* calls of one connection at a time; further ones wait in its socket                   \
            */

struct ttrpc_server;

struct ttrpc_reply;
/* Sets what a call is answered with; packed within the call. */
void ttrpc_reply_set(struct ttrpc_reply *reply, const ProtobufCMessage *message);

/*
 * Answers one call, in a task of its own; may wait. request is valid until it returns. Returns 0,
 * after ttrpc_reply_set or for an empty message, or an error, whose code and message are told.
 */
typedef int ttrpc_handler(void *argument, const ProtobufCMessage *request,
                          struct ttrpc_reply *reply, struct error *err);

struct ttrpc_method {
        const char *service; /* "containerd.services.events.ttrpc.v1.Events" */
        const char *name;
        const ProtobufCMessageDescriptor *request;
        ttrpc_handler *handle;
};

/* methods ends with an empty one, and stays the caller's. */
struct ttrpc_server *ttrpc_server_new(const struct ttrpc_method *methods, void *argument);

/* Serves one connection; takes fd, also on failure. */
int ttrpc_server_add(struct ttrpc_server *server, int fd, struct error *err);

/* Listens at path, mode 0600, in the place of a socket that is there; at most 107 bytes. Once for
 * each server. */
int ttrpc_server_listen(struct ttrpc_server *server, const char *path, struct error *err);

/* Ends its connections. Calls that are being answered go on, and nobody hears. Null is allowed. */
void ttrpc_server_free(struct ttrpc_server *server);

#endif
