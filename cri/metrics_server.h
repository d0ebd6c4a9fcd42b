/*
 * metrics_server: the daemon's own metrics over HTTP.
 *
 * GET /metrics on a TCP address or a unix socket, with TLS where the configuration names a
 * certificate. libmicrohttpd does it, with one thread of its own, and is loaded only where metrics
 * are served: with the TLS library that it needs it would cost an idle daemon memory that nobody
 * uses. The text is made by a task on the loop's thread.
 */
#ifndef CRISP_CRI_METRICS_SERVER_H
#define CRISP_CRI_METRICS_SERVER_H

#include "base/error.h"

struct metrics_server;

struct metrics_server_options {
        const char *listen;             /* "127.0.0.1:9090", "[::1]:9090" or the path of a socket */
        const char *tls_cert, *tls_key; /* paths of PEM files; both empty: no TLS */
};

/*
 * Listens, and answers from when the loop runs. A socket's file that nobody holds is replaced.
 * FAILED_PRECONDITION where libmicrohttpd is not installed or cannot do TLS; INVALID_ARGUMENT for
 * half of a certificate. Blocks for moments. The loop's thread.
 */
int metrics_server_start(const struct metrics_server_options *options,
                         struct metrics_server **server, struct error *err);

/* Stops answering and removes the socket. After the loop has ended; null is allowed. */
void metrics_server_free(struct metrics_server *server);

#endif
