/*
 * streaming: the node's streaming server, and what Exec, Attach and PortForward share.
 */
#ifndef CRISP_CRI_STREAMING_H
#define CRISP_CRI_STREAMING_H

#include "base/error.h"
#include "cri/config.h"
#include "cri/container.h"
#include "cri/stream/server.h"

/* Listens where the configuration says. Before the loop runs. */
int streaming_start(const struct config *config, struct error *err);
/* After the loop. */
void streaming_stop(void);

/* stream_server_offer on the node's server; *url is the arena's. */
int streaming_offer(const struct stream_offer *offer, struct rpc *rpc, char **url,
                    struct error *err);

/* What Exec and Attach have in common: streams of a running container. */
struct streaming_call {
        enum stream_kind kind;
        const char *name; /* for errors: "exec" */
        /* Whether the container is fit for it. */
        int (*require)(const struct container *container, struct error *err);
        /* The backend's session, which its close frees; the container is borrowed. */
        void *(*make)(struct container *container, const void *request);
        const struct stream_backend *backend;
};

struct streaming_wish {
        const char *container_id; /* or a unique prefix */
        bool tty, input, output, errors;
};

/*
 * Offers it; *url is the arena's. INVALID_ARGUMENT for combinations of streams that cannot be: none
 * of the three, or a terminal with stderr.
 */
int streaming_offer_container(const struct streaming_call *call, const struct streaming_wish *wish,
                              const void *request, struct rpc *rpc, char **url, struct error *err);

#endif
