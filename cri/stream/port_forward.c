/*
 * Port-forward: for each connection of the client's a stream of bytes and one for an error, which
 * belong together by their requestID, or by their numbers where an old client gives none.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/memory.h"
#include "cri/stream/bounds.h"
#include "cri/stream/session_private.h"

#define REQUEST_MAX 128 /* bytes of a requestID */

static void tell_error(struct channel *status, const char *message)
{
        session_send(status, message, strlen(message));
        session_finish(status);
}

static void connect_pair(struct channel *connection, struct channel *status)
{
        connection->partner = status;
        status->partner = connection;
        connection->partner_deadline = status->partner_deadline = 0;
        connection->connection = ++connection->session->newest_connection;
        connection->session->connections++;
        bridge_connect(connection->session->bridge, connection->connection, connection->port);
}

/* Both directions are done: so is the pair. A WebSocket has no connections but its first ones. */
static void end_pair(struct channel *connection)
{
        struct session *session = connection->session;
        struct channel *status = connection->partner;
        session_finish(connection);
        connection->dead = true;
        if (status) {
                session_finish(status);
                status->dead = true;
        }
        if (--session->connections == 0 && !session->spdy)
                session_complete(session);
}

static void look_for_the_end(struct channel *connection)
{
        if (connection->output < 0 && (connection->client_done || connection->deaf) &&
            !connection->pending.length)
                end_pair(connection);
}

/* ---- the backend's answers ---- */

static struct channel *find_connection(const struct session *session, uint32_t number)
{
        for (struct channel *channel = session->channels; channel; channel = channel->next)
                if (channel->role == CHANNEL_CONNECTION && channel->connection == number &&
                    !channel->dead)
                        return channel;
        return NULL;
}

static void fail(struct channel *connection, const struct error *failure)
{
        struct session *session = connection->session;
        AUTO_FREE char *message =
                xprintf("error forwarding port %u to pod %s: %s", connection->port,
                        session->options.name, failure->message);
        if (connection->partner)
                tell_error(connection->partner, message);
        session_reset(connection);
        end_pair(connection);
}

static void connected(void *session_, uint32_t number, int fd, const struct error *failure)
{
        struct session *session = session_;
        struct channel *connection = find_connection(session, number);
        if (!connection) {
                if (fd >= 0)
                        close(fd);
                return;
        }
        int other = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
        if (failure || other < 0) {
                struct error none = {.message = "no descriptor is left"};
                if (fd >= 0)
                        close(fd);
                fail(connection, failure ? failure : &none);
                return;
        }
        session_set_input(connection, fd);
        session_set_output(connection, other);
}

/* The pod's side sends no more; the client may, until it closes too. */
static void output_ended(struct channel *connection)
{
        session_finish(connection);
        look_for_the_end(connection);
        if (!connection->dead && !connection->session->spdy)
                end_pair(connection); /* a WebSocket's client has no way to say that it is done */
}

/* ---- what the client does ---- */

static void client_finished(struct channel *channel, bool reset)
{
        if (channel->role != CHANNEL_CONNECTION)
                return;
        if (reset) {
                if (channel->partner)
                        end_pair(channel);
                else
                        channel->dead = true;
                return;
        }
}

static void input_ended(struct channel *channel)
{
        if (channel->role == CHANNEL_CONNECTION && channel->partner)
                look_for_the_end(channel);
}

static void data(struct channel *channel, const void *bytes, size_t length)
{
        (void)channel; /* nothing is said on the error stream in this direction */
        (void)bytes;
        (void)length;
}

static struct channel *find_partner(const struct session *session, enum channel_role role,
                                    const char *request, uint32_t stream)
{
        for (struct channel *channel = session->channels; channel; channel = channel->next) {
                if (channel->role == role || channel->partner || channel->dead)
                        continue;
                if (request ? channel->request && strcmp(channel->request, request) == 0
                            : !channel->request &&
                                      channel->stream ==
                                              (role == CHANNEL_STATUS ? stream + 2 : stream - 2))
                        return channel;
        }
        return NULL;
}

static bool is_taken(const struct session *session, enum channel_role role, const char *request)
{
        for (struct channel *channel = session->channels; request && channel;
             channel = channel->next)
                if (channel->role == role && channel->request && !channel->dead &&
                    strcmp(channel->request, request) == 0)
                        return true;
        return false;
}

static void watch_partners(struct session *session)
{
        int64_t next = CLOCK_NEVER;
        for (struct channel *channel = session->channels; channel; channel = channel->next)
                if (channel->partner_deadline && !channel->dead && channel->partner_deadline < next)
                        next = channel->partner_deadline;
        session->deadline = next;
}

static struct channel *on_stream(struct session *session, uint32_t stream,
                                 const struct spdy_header *headers, size_t count)
{
        const char *type = spdy_header(headers, count, "streamtype");
        const char *port = spdy_header(headers, count, "port");
        const char *request = spdy_header(headers, count, "requestid");
        char *end;
        unsigned long number = port ? strtoul(port, &end, 10) : 0;
        if (!type || !port || *end || number < 1 || number > UINT16_MAX ||
            (request && strlen(request) > REQUEST_MAX))
                return NULL;
        enum channel_role role;
        if (strcmp(type, "data") == 0)
                role = CHANNEL_CONNECTION;
        else if (strcmp(type, "error") == 0)
                role = CHANNEL_STATUS;
        else
                return NULL;
        if (is_taken(session, role, request))
                return NULL;
        struct channel *partner = find_partner(session, role, request, stream);
        struct channel *channel = session_channel_new(session, stream, role);
        channel->port = (uint16_t)number;
        channel->request = xstrdup(request);
        channel->partner_deadline = clock_after(SESSION_STREAMS_TIME);
        if (partner)
                connect_pair(role == CHANNEL_CONNECTION ? channel : partner,
                             role == CHANNEL_CONNECTION ? partner : channel);
        watch_partners(session);
        return channel;
}

/* Halves whose other half never came. */
static void due(struct session *session)
{
        int64_t now = clock_monotonic();
        for (struct channel *channel = session->channels; channel; channel = channel->next) {
                if (!channel->partner_deadline || channel->partner_deadline > now || channel->dead)
                        continue;
                bound_reached(BOUND_STREAMS_TIME);
                if (channel->role == CHANNEL_STATUS)
                        tell_error(channel, "timed out waiting for the connection's other stream");
                session_reset(channel);
                channel->dead = true;
        }
        watch_partners(session);
}

/* Each port has two channels, which begin with its number. */
static void begin(struct session *session)
{
        if (session->spdy)
                return;
        for (size_t i = 0; i < session->options.port_count; i++) {
                uint16_t port = session->options.ports[i];
                unsigned char number[2] = {port & 0xff, port >> 8};
                struct channel *connection =
                        session_channel_new(session, (uint32_t)(2 * i), CHANNEL_CONNECTION);
                struct channel *status =
                        session_channel_new(session, (uint32_t)(2 * i + 1), CHANNEL_STATUS);
                connection->port = port;
                session_send(connection, number, sizeof number);
                session_send(status, number, sizeof number);
                connect_pair(connection, status);
        }
}

const struct session_logic session_port_forward = {
        .begin = begin,
        .opened = on_stream,
        .data = data,
        .client_finished = client_finished,
        .output_ended = output_ended,
        .input_ended = input_ended,
        .due = due,
        .answers = {.connected = connected},
};
