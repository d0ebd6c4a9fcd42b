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

/* INVALID_ARGUMENT for combinations that cannot be: none of the three, or a terminal with stderr.
 */
int streaming_check(bool tty, bool want_input, bool want_output, bool want_errors,
                    struct error *err);

#endif
