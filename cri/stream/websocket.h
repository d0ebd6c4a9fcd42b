/*
 * websocket: messages of a WebSocket connection (RFC 6455), the server's side, after its handshake.
 *
 * The frames are wslay's business. It holds no socket: bytes come in through websocket_receive and
 * leave through the output function. Messages come in pieces as they arrive, so that their length
 * costs no memory. Pings are answered. Not locked: one thread.
 */
#ifndef CRISP_CRI_STREAM_WEBSOCKET_H
#define CRISP_CRI_STREAM_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define WEBSOCKET_ACCEPT_SIZE  32   /* bytes of websocket_accept's text with its zero */
#define WEBSOCKET_CLOSE_NORMAL 1000 /* section 7.4.1 */
#define WEBSOCKET_CLOSE_ERROR  1011

struct websocket_events {
        /* A piece of a message; first: a new one begins with it. length may be 0. */
        void (*piece)(void *argument, bool first, const void *bytes, size_t length);
        /* The message that came in pieces is whole. */
        void (*whole)(void *argument);
        /* To be sent, in order. */
        void (*output)(void *argument, const void *bytes, size_t length);
};

struct websocket;

struct websocket *websocket_new(const struct websocket_events *events, void *argument);
void websocket_free(struct websocket *websocket); /* null is allowed; not from within an event */

/* Takes what came. -ECANCELED (CANCELLED) when the peer closed the connection; INVALID_ARGUMENT for
 * what is no WebSocket. */
int websocket_receive(struct websocket *websocket, const void *bytes, size_t length,
                      struct error *err);
/* One whole message: the first bytes of it, which may be none, and the others. After a goodbye
 * nothing goes out. */
void websocket_send(struct websocket *websocket, bool binary, const void *first,
                    size_t first_length, const void *bytes, size_t length);
/* Says goodbye. */
void websocket_close(struct websocket *websocket, unsigned code);

/* The answer to a Sec-WebSocket-Key (section 4.2.2). */
void websocket_accept(const char *key, char accept[WEBSOCKET_ACCEPT_SIZE]);

#endif
