#include "cri/stream/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/httpd.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/stream/bounds.h"
#include "cri/stream/handshake.h"
#include "cri/stream/offers.h"
#include "cri/stream/pump.h"
#include "cri/stream/relay.h"
#include "cri/stream/session.h"
#include "cri/stream/websocket.h"

#define BACKLOG           128
#define HTTP_STACK_SIZE   (256 * 1024) /* bytes of address space */
#define REQUEST_TIME      (STREAM_REQUEST_TIME * NSEC_PER_SEC)
#define SPARE_CONNECTIONS 64 /* that have not asked for anything yet, beside the sessions */

/* A connection, from its start to its end. */
struct guest {
        struct stream_server *server;
        int fd;
        int64_t deadline; /* for its request */
        bool upgraded;
        bool asks;                                /* a request line has come */
        bool late;                                /* cut off */
        struct switching *switching;              /* from the answer until the upgrade */
        struct MHD_UpgradeResponseHandle *handle; /* when it is, until it is given back */
        struct guest *previous, *next;
};

struct stream_server {
        struct stream_server_options options;
        int listener;
        char *base; /* "http://127.0.0.1:4711" */
        struct MHD_Daemon *http;
        struct pump *pump;
        struct offers *offers;
        struct tls *tls; /* or null */
        struct relays *relays;
        struct pump_timer expiry, guard;
        pthread_mutex_t lock;
        struct guest *guests; /* under it */
};

/* What is to be switched to, from the answer to the upgrade. */
struct switching {
        struct stream_server *server;
        struct guest *guest;
        struct bridge *bridge;
        struct session_options options;
};

static const struct httpd *httpd; /* from the first offer on */
static atomic_ulong sessions_total;

/* ---- connections ---- */

/* On the pump's thread: those that have not asked in time are cut off. A time without a byte, which
 * is what microhttpd can bound, is not enough: a byte now and then would keep a connection. */
static void guard_guests(void *server_)
{
        struct stream_server *server = server_;
        int64_t now = clock_monotonic(), next = CLOCK_NEVER;
        pthread_mutex_lock(&server->lock);
        for (struct guest *guest = server->guests; guest; guest = guest->next) {
                if (guest->upgraded)
                        continue;
                if (guest->deadline <= now) {
                        guest->late = true;
                        bound_reached(BOUND_REQUEST_TIME);
                        shutdown(guest->fd, SHUT_RDWR);
                        guest->deadline = CLOCK_NEVER;
                } else if (guest->deadline < next) {
                        next = guest->deadline;
                }
        }
        pthread_mutex_unlock(&server->lock);
        if (next != CLOCK_NEVER)
                pump_timer_set(server->pump, &server->guard, next);
}

static void guest_came(struct stream_server *server, struct MHD_Connection *connection,
                       void **context)
{
        const union MHD_ConnectionInfo *info =
                httpd->get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct guest *guest = xcalloc(1, sizeof *guest);
        int yes = 1;
        *guest = (struct guest){
                .server = server, .fd = info->connect_fd, .deadline = clock_after(REQUEST_TIME)};
        setsockopt(guest->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        pthread_mutex_lock(&server->lock);
        guest->next = server->guests;
        if (guest->next)
                guest->next->previous = guest;
        server->guests = guest;
        pthread_mutex_unlock(&server->lock);
        *context = guest;
        pump_post(server->pump, guard_guests, server);
}

static void switching_free(struct switching *switching)
{
        if (switching->bridge)
                bridge_drop(switching->bridge);
        free(switching);
}

static void guest_left(struct stream_server *server, struct guest *guest)
{
        pthread_mutex_lock(&server->lock);
        if (guest->previous)
                guest->previous->next = guest->next;
        else
                server->guests = guest->next;
        if (guest->next)
                guest->next->previous = guest->previous;
        pthread_mutex_unlock(&server->lock);
        /* A request that did not become whole, nor late: what microhttpd would not take. */
        if (guest->asks && !guest->late)
                bound_reached(BOUND_REQUEST_SIZE);
        if (guest->switching) /* it has gone before the upgrade */
                switching_free(guest->switching);
        free(guest);
}

static void on_connection(void *server, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
        if (code == MHD_CONNECTION_NOTIFY_STARTED)
                guest_came(server, connection, context);
        else if (*context)
                guest_left(server, *context);
}

/* ---- requests ---- */

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *text, const char *const *accepted)
{
        struct MHD_Response *response = httpd->create_response_from_buffer(
                strlen(text), (char *)text, MHD_RESPMEM_MUST_COPY);
        if (!response)
                return MHD_NO;
        httpd->add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
        for (; accepted && *accepted; accepted++)
                httpd->add_response_header(response, "X-Accepted-Stream-Protocol-Versions",
                                           *accepted);
        enum MHD_Result result = httpd->queue_response(connection, status, response);
        httpd->destroy_response(response);
        return result;
}

static enum MHD_Result on_header(void *request, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
        (void)kind;
        handshake_header(request, name, value);
        return MHD_YES;
}

static void on_released(void *guest_)
{
        struct guest *guest = guest_;
        struct MHD_UpgradeResponseHandle *handle = guest->handle;
        guest->handle = NULL;
        httpd->upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
}

static void on_upgraded(void *switching_, struct MHD_Connection *connection, void *context,
                        const char *early, size_t early_length, MHD_socket fd,
                        struct MHD_UpgradeResponseHandle *handle)
{
        struct switching *switching = switching_;
        struct stream_server *server = switching->server;
        struct guest *guest = switching->guest;
        (void)connection;
        (void)context;
        pthread_mutex_lock(&server->lock);
        guest->upgraded = true;
        guest->handle = handle;
        pthread_mutex_unlock(&server->lock);
        atomic_fetch_add(&sessions_total, 1);
        session_start(server->pump, switching->bridge, &switching->options, fd, early, early_length,
                      on_released, guest);
        switching->bridge = NULL;
        guest->switching = NULL;
        switching_free(switching);
}

static enum MHD_Result switch_protocols(struct stream_server *server,
                                        struct MHD_Connection *connection,
                                        const struct handshake_request *request,
                                        const struct handshake_answer *answer,
                                        struct bridge *bridge, struct session_options *options)
{
        const union MHD_ConnectionInfo *info =
                httpd->get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        struct switching *switching = xcalloc(1, sizeof *switching);
        options->framing = answer->framing;
        options->version = answer->version;
        *switching = (struct switching){server, info->socket_context, bridge, *options};
        struct MHD_Response *response = httpd->create_response_for_upgrade(on_upgraded, switching);
        if (!response) {
                switching_free(switching);
                return MHD_NO;
        }
        if (answer->framing == SESSION_SPDY) {
                httpd->add_response_header(response, "Upgrade", "SPDY/3.1");
                httpd->add_response_header(response, "X-Stream-Protocol-Version", answer->protocol);
        } else {
                char accept[WEBSOCKET_ACCEPT_SIZE];
                websocket_accept(request->web_key, accept);
                httpd->add_response_header(response, "Upgrade", "websocket");
                httpd->add_response_header(response, "Sec-WebSocket-Accept", accept);
                if (*answer->protocol)
                        httpd->add_response_header(response, "Sec-WebSocket-Protocol",
                                                   answer->protocol);
        }
        enum MHD_Result result =
                httpd->queue_response(connection, MHD_HTTP_SWITCHING_PROTOCOLS, response);
        httpd->destroy_response(response);
        if (result == MHD_YES)
                switching->guest->switching = switching;
        else
                switching_free(switching);
        return result;
}

static void *on_request_line(void *server, const char *uri, struct MHD_Connection *connection)
{
        const union MHD_ConnectionInfo *info =
                httpd->get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        (void)server;
        (void)uri;
        ((struct guest *)info->socket_context)->asks = true;
        return NULL; /* what on_request finds in *context */
}

static enum MHD_Result on_request(void *server_, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *upload, size_t *upload_length, void **context)
{
        static int seen;
        struct stream_server *server = server_;
        struct handshake_request request = {0};
        struct handshake_answer answer;
        struct session_options options;
        struct bridge *bridge;
        (void)version;
        (void)upload;
        if (!*context) {
                const union MHD_ConnectionInfo *info =
                        httpd->get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
                ((struct guest *)info->socket_context)->asks = false;
                *context = &seen; /* it comes a second time, when the request is whole */
                return MHD_YES;
        }
        if (*upload_length)
                return MHD_NO; /* nothing is uploaded here */
        if (strcmp(method, "GET") != 0 && strcmp(method, "POST") != 0)
                return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or POST\n", NULL);
        if (!offers_take(server->offers, path, &bridge, &options))
                return answer_text(connection, MHD_HTTP_NOT_FOUND,
                                   "this URL is not known, was used already, or is too old\n",
                                   NULL);
        httpd->get_connection_values(connection, MHD_HEADER_KIND, on_header, &request);
        handshake_decide(&request, options.kind, &answer);
        if (answer.status == MHD_HTTP_SWITCHING_PROTOCOLS &&
            session_count() >= server->options.max_sessions) {
                bound_reached(BOUND_SESSIONS);
                answer.status = MHD_HTTP_SERVICE_UNAVAILABLE;
                snprintf(answer.text, sizeof answer.text,
                         "%u streaming sessions are open, as many as streaming.max_sessions allows",
                         server->options.max_sessions);
        }
        if (answer.status == MHD_HTTP_SWITCHING_PROTOCOLS)
                return switch_protocols(server, connection, &request, &answer, bridge, &options);
        bridge_drop(bridge);
        return answer_text(connection, answer.status, answer.text, answer.accepted);
}

/* ---- start and end ---- */

static int listen_at(const struct stream_server_options *options, int *listener, struct error *err)
{
        struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                                   .sin6_port = htons((uint16_t)options->port)};
        struct sockaddr_in four = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)options->port)};
        bool is_four = inet_pton(AF_INET, options->address, &four.sin_addr) == 1;
        if (!is_four && inet_pton(AF_INET6, options->address, &six.sin6_addr) != 1)
                return error_set(err, ERROR_INVALID_ARGUMENT, "streaming: %s is not an address",
                                 options->address);
        AUTO_FD int fd =
                socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int yes = 1;
        if (fd >= 0)
                setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (fd < 0 ||
            bind(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six,
                 is_four ? sizeof four : sizeof six) < 0 ||
            listen(fd, BACKLOG) < 0)
                return error_errno(err, errno, "streaming: listen on %s port %u", options->address,
                                   options->port);
        *listener = take_fd(&fd);
        return 0;
}

static char *base_url(const char *scheme, int listener, const char *address)
{
        union {
                struct sockaddr any;
                struct sockaddr_in four;
                struct sockaddr_in6 six;
        } own = {0};
        socklen_t length = sizeof own;
        getsockname(listener, &own.any, &length);
        if (own.any.sa_family == AF_INET)
                return xprintf("%s://%s:%u", scheme, address, ntohs(own.four.sin_port));
        return xprintf("%s://[%s]:%u", scheme, address, ntohs(own.six.sin6_port));
}

int stream_server_start(const struct stream_server_options *options, struct stream_server **result,
                        struct error *err)
{
        int listener = -1;
        struct tls *tls = NULL;
        int status = 0;
        if (*options->tls.cert || *options->tls.key)
                status = tls_open(&options->tls, &tls, err);
        if (status == 0)
                status = listen_at(options, &listener, err);
        if (status < 0) {
                tls_free(tls);
                return status;
        }
        struct stream_server *server = xcalloc(1, sizeof *server);
        server->options = *options;
        server->options.address = NULL;
        server->options.tls = (struct stream_tls_options){0};
        server->listener = listener;
        server->tls = tls;
        server->base = base_url(tls ? "https" : "http", listener, options->address);
        server->offers = offers_new(STREAM_OFFER_TIME);
        pthread_mutex_init(&server->lock, NULL);
        *result = server;
        return 0;
}

static void expire_offers(void *server_)
{
        struct stream_server *server = server_;
        int64_t next = offers_expire(server->offers);
        if (next != CLOCK_NEVER)
                pump_timer_set(server->pump, &server->expiry, next);
}

/* Decrypted, it comes from nowhere in particular. */
static void take_decrypted(void *server_, int fd)
{
        struct stream_server *server = server_;
        static const struct sockaddr_in nowhere = {.sin_family = AF_INET};
        httpd->add_connection(server->http, fd, (const struct sockaddr *)&nowhere, sizeof nowhere);
}

static int start_threads(struct stream_server *server, struct error *err)
{
        if (server->http)
                return 0;
        int result = httpd_load(&httpd, err);
        if (result < 0)
                return result;
        if (!server->pump) {
                result = pump_start(&server->pump, err);
                if (result < 0)
                        return result;
                server->expiry = (struct pump_timer){.callback = expire_offers, .argument = server};
                server->guard = (struct pump_timer){.callback = guard_guests, .argument = server};
        }
        unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_UPGRADE |
                         (server->tls ? MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC : 0);
        server->http = httpd->start_daemon(
                flags, 0, NULL, NULL, on_request, server, MHD_OPTION_CONNECTION_LIMIT,
                server->options.max_sessions + SPARE_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
                (unsigned)STREAM_REQUEST_TIME, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                (size_t)STREAM_REQUEST_MAX, MHD_OPTION_THREAD_STACK_SIZE, (size_t)HTTP_STACK_SIZE,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_URI_LOG_CALLBACK,
                on_request_line, server, server->tls ? MHD_OPTION_END : MHD_OPTION_LISTEN_SOCKET,
                server->listener, MHD_OPTION_END);
        if (!server->http)
                return error_set(err, ERROR_INTERNAL, "streaming: the HTTP server does not start");
        if (server->tls)
                server->relays = relays_start(server->pump, server->tls, server->listener,
                                              server->options.max_sessions + SPARE_CONNECTIONS,
                                              take_decrypted, server);
        return 0;
}

void stream_server_stop(struct stream_server *server)
{
        if (!server)
                return;
        pump_stop(server->pump);
        /* Nobody looks at the sessions any more; microhttpd wants their connections back first. */
        session_abandon_all();
        for (struct guest *guest = server->guests; guest; guest = guest->next)
                if (guest->handle)
                        on_released(guest);
        if (server->http)
                httpd->stop_daemon(server->http);
        if (!server->http || server->tls)
                close(server->listener); /* microhttpd closes its own */
        relays_free(server->relays);
        tls_free(server->tls);
        offers_free(server->offers);
        pthread_mutex_destroy(&server->lock);
        free(server->base);
        free(server);
}

/* ---- offers ---- */

static int fill_options(const struct stream_server *server, const struct stream_offer *offer,
                        struct session_options *options, struct error *err)
{
        *options = (struct session_options){
                .kind = offer->kind,
                .tty = offer->tty,
                .want_input = offer->want_input,
                .want_output = offer->want_output,
                .want_errors = offer->want_errors && !offer->tty,
                .idle_timeout = server->options.idle_timeout,
        };
        snprintf(options->name, sizeof options->name, "%s", offer->name);
        if (offer->port_count > SESSION_PORTS_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "port: %zu of them, %d at most",
                                 offer->port_count, SESSION_PORTS_MAX);
        for (size_t i = 0; i < offer->port_count; i++) {
                if (offer->ports[i] < 1 || offer->ports[i] > UINT16_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "port: %d is none",
                                         offer->ports[i]);
                options->ports[options->port_count++] = (uint16_t)offer->ports[i];
        }
        return 0;
}

int stream_server_offer(struct stream_server *server, const struct stream_offer *offer, char **url,
                        struct error *err)
{
        struct session_options options;
        char path[OFFERS_PATH_SIZE];
        int result = fill_options(server, offer, &options, err);
        if (result == 0)
                result = start_threads(server, err);
        if (result < 0)
                return result;
        struct bridge *bridge = bridge_new(server->pump, offer->backend, offer->session);
        result = offers_add(server->offers, bridge, &options, path, err);
        if (result < 0) {
                bound_reached(BOUND_OFFERS);
                free(bridge);
                return result;
        }
        pump_post(server->pump, expire_offers, server);
        *url = xprintf("%s%s", server->base, path);
        return 0;
}

void stream_server_metrics(struct buffer *text)
{
        buffer_printf(text,
                      "# HELP crisp_streaming_sessions Exec, attach and port-forward sessions that "
                      "are open.\n"
                      "# TYPE crisp_streaming_sessions gauge\n"
                      "crisp_streaming_sessions %u\n"
                      "# HELP crisp_streaming_sessions_total Those that there have been.\n"
                      "# TYPE crisp_streaming_sessions_total counter\n"
                      "crisp_streaming_sessions_total %lu\n",
                      session_count(), atomic_load(&sessions_total));
        bounds_write(text);
}
