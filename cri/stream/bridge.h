/*
 * bridge: a session's way from the pump's thread to its backend on the loop's, and back.
 *
 * The session asks, and hears the answer later on its own thread, through the events. Each answer
 * comes exactly once, the last one being closed: after it the bridge is gone, and before it the
 * session must not go. All functions here are called on the pump's thread; what they start runs as
 * tasks on the loop's.
 */
#ifndef CRISP_CRI_STREAM_BRIDGE_H
#define CRISP_CRI_STREAM_BRIDGE_H

#include "base/error.h"
#include "cri/stream/backend.h"
#include "cri/stream/pump.h"

struct bridge_events {
        /* After bridge_open: the ends, which are now the session's, or why there are none. */
        void (*opened)(void *session, const struct stream_ends *ends, const struct error *failure);
        /* After a successful open: what wait gave. failure is null for success. */
        void (*ended)(void *session, int exit_code, const struct error *failure);
        /* After bridge_connect: the descriptor, or -1 and why. */
        void (*connected)(void *session, uint32_t connection, int fd, const struct error *failure);
        void (*closed)(void *session);
};

struct bridge;

/* context is the backend's, of the offer. Any thread. */
struct bridge *bridge_new(struct pump *pump, const struct stream_backend *backend, void *context);
/* For one that no session took: has context closed, on the loop's thread, and goes. Any thread. */
void bridge_drop(struct bridge *bridge);

/* When the loop has ended: has the context closed, outside of any task, and frees it. */
void bridge_abandon(struct bridge *bridge);

/* Who hears the answers; before anything else. */
void bridge_attach(struct bridge *bridge, const struct bridge_events *events, void *session);
void bridge_open(struct bridge *bridge);
void bridge_resize(struct bridge *bridge, uint16_t rows, uint16_t columns);
/* connection is any number, for the answer. */
void bridge_connect(struct bridge *bridge, uint32_t connection, uint16_t port);
/* Interrupts what waits, and has the context closed when nothing does any more. Once. */
void bridge_close(struct bridge *bridge);

#endif
