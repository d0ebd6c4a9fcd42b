/*
 * server: the HTTP server of exec, attach and port-forward.
 *
 * The CRI call makes an offer and gives its URL to the client, which comes for it once, within
 * STREAM_OFFER_TIME. The server listens from its start on; its threads are made with the first
 * offer, so that a node that nobody looks into pays for none.
 */
#ifndef CRISP_CRI_STREAM_SERVER_H
#define CRISP_CRI_STREAM_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "cri/stream/backend.h"
#include "cri/stream/tls.h"

#define STREAM_OFFER_TIME   (INT64_C(60000000000)) /* ns that an URL is good for */
#define STREAM_OFFERS_MAX   1000                   /* that nobody has come for yet */
#define STREAM_REQUEST_MAX  (16 * 1024)            /* bytes of a request's head */
#define STREAM_REQUEST_TIME 30                     /* seconds for it to arrive */

struct stream_server;

struct stream_server_options {
        const char *address;   /* IPv4 or IPv6 */
        unsigned port;         /* 0: any that is free */
        int64_t idle_timeout;  /* ns without a byte after which a session ends */
        unsigned max_sessions; /* connections at a time; further ones are closed */
        struct stream_tls_options tls;
};

/* Listens. Any failure names address and port. The loop's thread, and so are all below. */
int stream_server_start(const struct stream_server_options *options, struct stream_server **server,
                        struct error *err);
/* Ends all sessions; backends are not asked any more. Null is allowed. */
void stream_server_stop(struct stream_server *server);

struct stream_offer {
        enum stream_kind kind;
        bool tty, want_input, want_output, want_errors;
        const int32_t *ports; /* of a port-forward, for clients that name none; may be null */
        size_t port_count;
        const char *name; /* of the container or pod, for messages */
        const struct stream_backend *backend;
        void *session; /* the backend's; from a success on it will be closed */
};

/*
 * *url is the heap's. RESOURCE_EXHAUSTED when too many offers wait for their clients;
 * INVALID_ARGUMENT for ports that are none.
 */
int stream_server_offer(struct stream_server *server, const struct stream_offer *offer, char **url,
                        struct error *err);

/* Counts of sessions and bounds reached, as text for Prometheus. Any thread. */
void stream_server_metrics(struct buffer *text);

#endif
