#include "cri/streaming.h"

#include <stdlib.h>

#include "base/clock.h"

static struct stream_server *server;

int streaming_start(const struct config *config, struct error *err)
{
        const struct stream_server_options options = {
                .address = config->streaming.address,
                .port = config->streaming.port,
                .idle_timeout = config->streaming.idle_timeout * NSEC_PER_SEC,
                .max_sessions = config->streaming.max_sessions,
                .tls = {.cert = config->streaming.tls_cert,
                        .key = config->streaming.tls_key,
                        .client_ca = config->streaming.tls_client_ca,
                        .min_version = config->streaming.tls_min_version,
                        .ciphers = (const char *const *)config->streaming.tls_ciphers},
        };
        return stream_server_start(&options, &server, err);
}

void streaming_stop(void)
{
        stream_server_stop(server);
        server = NULL;
}

int streaming_offer(const struct stream_offer *offer, struct rpc *rpc, char **url,
                    struct error *err)
{
        AUTO_FREE char *made = NULL;
        int result = stream_server_offer(server, offer, &made, err);
        if (result == 0)
                *url = arena_strdup(rpc->arena, made);
        return result;
}

static int check_wish(const struct streaming_wish *wish, struct error *err)
{
        if (wish->tty && wish->errors)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "tty and stderr cannot both be true: a terminal has one output");
        if (!wish->input && !wish->output && !wish->errors)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "one of stdin, stdout and stderr must be true");
        return 0;
}

int streaming_offer_container(const struct streaming_call *call, const struct streaming_wish *wish,
                              const void *request, struct rpc *rpc, char **url, struct error *err)
{
        AUTO_CONTAINER struct container *container = NULL;
        int result = check_wish(wish, err);
        if (result == 0)
                result = container_find(wish->container_id, &container, err);
        if (result == 0)
                result = call->require(container, err);
        if (result < 0 || !container)
                return error_context(err, "%s", call->name);
        const struct stream_offer offer = {
                .kind = call->kind,
                .tty = wish->tty,
                .want_input = wish->input,
                .want_output = wish->output,
                .want_errors = wish->errors,
                .name = container->id,
                .backend = call->backend,
                .session = call->make(container, request),
        };
        result = streaming_offer(&offer, rpc, url, err);
        if (result < 0)
                call->backend->close(offer.session);
        return result < 0 ? error_context(err, "%s", call->name) : 0;
}
