/*
 * wire: one ttrpc connection, on which frames come and go.
 *
 * Nothing here waits. All functions belong to the loop's thread; the callbacks run there too,
 * outside any task, and may call ttrpc_wire_free.
 */
#ifndef CRISP_API_TTRPC_WIRE_H
#define CRISP_API_TTRPC_WIRE_H

#include <stdbool.h>

#include "api/ttrpc/frame.h"
#include "base/error.h"

#define TTRPC_UNSENT_MAX (16 * 1024 * 1024) /* bytes that wait for a peer that does not read */

struct ttrpc_wire;

/* A frame came; its payload is valid during the call. */
typedef void ttrpc_frame_function(void *argument, const struct ttrpc_frame *frame);
/* The connection has ended: once, never from within ttrpc_wire_send. why is a literal. */
typedef void ttrpc_end_function(void *argument, const char *why);

/* Takes fd, a connected stream socket, also on failure. */
int ttrpc_wire_new(int fd, ttrpc_frame_function *on_frame, ttrpc_end_function *on_end,
                   void *argument, struct ttrpc_wire **wire, struct error *err);
void ttrpc_wire_free(struct ttrpc_wire *wire); /* null is allowed */

/* Sends, or keeps what cannot be sent yet. -EMSGSIZE, -ENOBUFS past TTRPC_UNSENT_MAX, -EPIPE when
 * the connection has ended. */
int ttrpc_wire_send(struct ttrpc_wire *wire, uint32_t stream, enum ttrpc_frame_type type,
                    const void *payload, size_t length);

/* Whether frames are taken; while not, the peer's wait in its socket. Those that have come
 * meanwhile are given within the call. */
void ttrpc_wire_listen(struct ttrpc_wire *wire, bool listen);
bool ttrpc_wire_has_ended(const struct ttrpc_wire *wire);

#endif
