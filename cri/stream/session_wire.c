/* A session's framing: SPDY, channels in a WebSocket, or SPDY in a WebSocket. */
#include "cri/stream/session_private.h"

#include <stdlib.h>

#include "cri/stream/channels.h"
#include "cri/stream/websocket.h"

static void to_socket(void *session_, const void *bytes, size_t length)
{
        struct session *session = session_;
        queue_add(&session->out, bytes, length);
}

static void on_data(void *session_, uint32_t stream, const void *bytes, size_t length)
{
        struct session *session = session_;
        struct channel *channel = session_channel(session, stream);
        if (!channel || channel->client_done || session->state != SESSION_RUNNING)
                return;
        if (channel->role == CHANNEL_INPUT || channel->role == CHANNEL_CONNECTION)
                session_client_data(channel, bytes, length);
        else
                session->logic->data(channel, bytes, length);
}

static void on_finished(void *session_, uint32_t stream, bool reset)
{
        struct session *session = session_;
        struct channel *channel = session_channel(session, stream);
        if (!channel || channel->client_done || session->state != SESSION_RUNNING)
                return;
        channel->client_done = true;
        session->logic->client_finished(channel, reset);
}

static void on_channel_finished(void *session, uint32_t stream)
{
        on_finished(session, stream, false);
}

static bool on_opened(void *session_, uint32_t stream, const struct spdy_header *headers,
                      size_t count)
{
        struct session *session = session_;
        return session->state == SESSION_RUNNING &&
               session->logic->opened(session, stream, headers, count);
}

/* ---- SPDY in a WebSocket ---- */

static void to_tunnel(void *session_, const void *bytes, size_t length)
{
        struct session *session = session_;
        websocket_send(session->tunnel, true, NULL, 0, bytes, length);
}

/* What comes out of the messages is a stream: where they end means nothing. An error shows itself
 * with the next piece too. */
static void from_tunnel(void *session_, bool first, const void *bytes, size_t length)
{
        struct session *session = session_;
        (void)first;
        if (session->spdy && spdy_receive(session->spdy, bytes, length, NULL) < 0)
                session->tunnel_broken = true;
}

static void whole_message(void *session)
{
        (void)session;
}

/* ---- the whole ---- */

void session_wire_init(struct session *session)
{
        static const struct spdy_events plain = {on_opened, on_data, on_finished, to_socket};
        static const struct spdy_events tunnelled = {on_opened, on_data, on_finished, to_tunnel};
        static const struct websocket_events tunnel = {from_tunnel, whole_message, to_socket};
        static const struct channels_events web = {on_data, on_channel_finished, to_socket};
        const struct session_options *options = &session->options;
        if (options->framing == SESSION_TUNNEL)
                session->tunnel = websocket_new(&tunnel, session);
        if (options->framing == SESSION_TUNNEL || options->framing == SESSION_SPDY)
                session->spdy = spdy_new(session->tunnel ? &tunnelled : &plain, session);
        else
                session->web =
                        channels_new(&web, session, options->framing == SESSION_WEBSOCKET_BASE64,
                                     options->version >= 5);
}

void session_wire_fini(struct session *session)
{
        spdy_free(session->spdy);
        channels_free(session->web);
        websocket_free(session->tunnel);
}

int session_wire_receive(struct session *session, const void *bytes, size_t length,
                         struct error *err)
{
        if (session->web)
                return channels_receive(session->web, bytes, length, err);
        if (!session->tunnel)
                return spdy_receive(session->spdy, bytes, length, err);
        int result = websocket_receive(session->tunnel, bytes, length, err);
        if (result == 0 && session->tunnel_broken)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "what came in the WebSocket is not SPDY");
        return result;
}

size_t session_room(const struct channel *channel)
{
        const struct session *session = channel->session;
        if (channel->finished || session->out.length >= STREAM_QUEUE_MAX)
                return 0;
        size_t room = STREAM_QUEUE_MAX - session->out.length;
        if (!session->spdy)
                return room;
        size_t window = spdy_room(session->spdy, channel->stream);
        return window < room ? window : room;
}

void session_send(struct channel *channel, const void *bytes, size_t length)
{
        struct session *session = channel->session;
        if (channel->finished)
                return;
        if (session->spdy)
                spdy_send(session->spdy, channel->stream, bytes, length);
        else
                channels_send(session->web, channel->stream, bytes, length);
}

void session_finish(struct channel *channel)
{
        struct session *session = channel->session;
        if (channel->finished)
                return;
        channel->finished = true;
        if (session->spdy)
                spdy_finish(session->spdy, channel->stream);
}

void session_reset(struct channel *channel)
{
        struct session *session = channel->session;
        channel->finished = channel->client_done = true;
        if (session->spdy)
                spdy_reset(session->spdy, channel->stream, SPDY_CANCEL);
}

void session_wire_goodbye(struct session *session)
{
        if (session->web)
                channels_close(session->web);
        if (session->spdy)
                spdy_go_away(session->spdy);
        if (session->tunnel)
                websocket_close(session->tunnel, WEBSOCKET_CLOSE_NORMAL);
}
