/*
 * session: one client's exec, attach or port-forward, from the upgraded connection to its end.
 *
 * It lives on the pump's thread. The client's bytes come framed by SPDY, by a WebSocket, or by SPDY
 * inside a WebSocket; those of the container from the descriptors that the backend gives. Nothing
 * is read from one side while the other has not taken STREAM_QUEUE_MAX bytes of it: so a slow
 * reader holds back its own session and no other.
 */
#ifndef CRISP_CRI_STREAM_SESSION_H
#define CRISP_CRI_STREAM_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cri/stream/backend.h"
#include "cri/stream/bridge.h"
#include "cri/stream/pump.h"

#define SESSION_PORTS_MAX      64                     /* ports of a WebSocket's port-forward */
#define SESSION_STREAMS_TIME   (INT64_C(30000000000)) /* ns for a client to open its streams */
#define SESSION_LINGER_SILENCE (INT64_C(1000000000))  /* ns: see remote_command.c */
#define SESSION_LINGER_MAX     (INT64_C(10000000000)) /* ns, likewise */
#define SESSION_GOODBYE_TIME   (INT64_C(5000000000))  /* ns for a client to close its end */
#define SESSION_NAME_MAX       128                    /* bytes */

enum session_framing {
        SESSION_SPDY,
        SESSION_WEBSOCKET,
        SESSION_WEBSOCKET_BASE64,
        SESSION_TUNNEL, /* SPDY in a WebSocket */
};

struct session_options {
        enum stream_kind kind;
        bool tty, want_input, want_output, want_errors;
        enum session_framing framing;
        unsigned version; /* of channel.k8s.io, 1 to 5 */
        uint16_t ports[SESSION_PORTS_MAX];
        size_t port_count;
        int64_t idle_timeout;        /* ns without a byte after which it ends */
        char name[SESSION_NAME_MAX]; /* of the container or pod, for messages */
};

/*
 * Starts it on the upgraded connection fd, of which early bytes have been read. released is called
 * on the pump's thread when fd is of no more use: its owner closes it. The bridge is the session's.
 * Any thread.
 */
void session_start(struct pump *pump, struct bridge *bridge, const struct session_options *options,
                   int fd, const void *early, size_t early_length, void (*released)(void *argument),
                   void *argument);

/* Frees all sessions and gives their connections back, when the pump has been stopped: backends are
 * not asked any more. */
void session_abandon_all(void);

/* How many there are. Any thread. */
unsigned session_count(void);

#endif
