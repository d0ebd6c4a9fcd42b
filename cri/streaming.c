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

int streaming_check(bool tty, bool want_input, bool want_output, bool want_errors,
                    struct error *err)
{
        if (tty && want_errors)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "tty and stderr cannot both be true: a terminal has one output");
        if (!want_input && !want_output && !want_errors)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "one of stdin, stdout and stderr must be true");
        return 0;
}
