/*
 * backend: what a streaming session is connected to.
 *
 * The streaming server (cri/stream/) speaks HTTP, SPDY and WebSocket on threads of its own and
 * knows nothing of containers and pods. What it needs of them it asks through the functions below.
 * Each is called on the loop's thread in a task of its own, where it may wait; the server's threads
 * go on meanwhile. session is what the backend gave with the offer; close is called exactly once
 * for it, also when nobody ever came for its URL, and nothing is called for it afterwards or, but
 * for close itself, while close runs.
 */
#ifndef CRISP_CRI_STREAM_BACKEND_H
#define CRISP_CRI_STREAM_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum stream_kind { STREAM_EXEC, STREAM_ATTACH, STREAM_PORT_FORWARD };

/*
 * What the session reads and writes: close-on-exec and non-blocking, -1 where there is none; the
 * server closes them. Each may be a pipe, a socket or a terminal, and no two are the same
 * descriptor (dup(2) where they lead to the same thing).
 */
struct stream_ends {
        int input; /* the client's stdin is written here; it is closed at its end, but where it is a
                      terminal the backend is told nothing more */
        int output; /* to the client's stdout, until its end (EOF, or EIO of a terminal) */
        int errors; /* to its stderr; -1 with a terminal */
};

struct stream_backend {
        /*
         * Starts the command (exec) or connects to the container (attach). Not called for
         * port-forward. An error is told to the client, and ends the session.
         */
        int (*open)(void *session, struct stream_ends *ends, struct error *err);
        /* The client's terminal has this size: only after open, only with a terminal. One call at a
         * time; sizes that come meanwhile are told afterwards, the last one only. */
        void (*resize)(void *session, uint16_t rows, uint16_t columns);
        /*
         * Waits for the end of what open started: an exec's command, whose exit code (0 to 255, 128
         * + signal) is the client's; of an attach the container's end or that of its output, exit
         * code 0. Called once, right after open. Interrupted (-ECANCELED) when the client is gone:
         * an exec is then dealt with as the kubelet expects it, and close follows.
         */
        int (*wait)(void *session, int *exit_code, struct error *err);
        /* A connection to the port, inside the pod's network namespace (port-forward; several may
         * be under way). *fd is the server's. */
        int (*connect)(void *session, uint16_t port, int *fd, struct error *err);
        /* At the daemon's end outside of a task: it must not wait. */
        void (*close)(void *session);
};

#endif
