#include "cri/stream/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "cri/stream/bounds.h"
#include "cri/stream/session_private.h"

#define READ_SIZE (64 * 1024) /* bytes at a time */

static atomic_uint count;
static struct session *all; /* the pump's thread's */

unsigned session_count(void)
{
        return atomic_load(&count);
}

static void update(struct session *session);

/* ---- channels ---- */

static void on_input_ready(void *channel, uint32_t events);
static void on_output_ready(void *channel, uint32_t events);

struct channel *session_channel_new(struct session *session, uint32_t stream,
                                    enum channel_role role)
{
        struct channel *channel = xcalloc(1, sizeof *channel);
        *channel = (struct channel){.session = session,
                                    .next = session->channels,
                                    .stream = stream,
                                    .role = role,
                                    .input = -1,
                                    .output = -1,
                                    .input_watch = {-1, 0, on_input_ready, channel},
                                    .output_watch = {-1, 0, on_output_ready, channel}};
        session->channels = channel;
        return channel;
}

struct channel *session_channel(const struct session *session, uint32_t stream)
{
        struct channel *channel = session->channels;
        while (channel && (channel->stream != stream || channel->dead))
                channel = channel->next;
        return channel;
}

struct channel *session_channel_of(const struct session *session, enum channel_role role)
{
        struct channel *channel = session->channels;
        while (channel && (channel->role != role || channel->dead))
                channel = channel->next;
        return channel;
}

void session_set_input(struct channel *channel, int fd)
{
        channel->input = channel->input_watch.fd = fd;
}

void session_set_output(struct channel *channel, int fd)
{
        channel->output = channel->output_watch.fd = fd;
}

/* What is not written yet is lost, and so is what still comes. */
void session_close_input(struct channel *channel)
{
        channel->deaf = true;
        queue_fini(&channel->pending);
        if (channel->input < 0)
                return;
        pump_watch(channel->session->pump, &channel->input_watch, 0);
        /* Of a connection, the other direction goes on through a descriptor of its own. */
        if (channel->role == CHANNEL_CONNECTION)
                shutdown(channel->input, SHUT_WR);
        close(channel->input);
        channel->input = -1;
}

void session_close_output(struct channel *channel)
{
        if (channel->output < 0)
                return;
        pump_watch(channel->session->pump, &channel->output_watch, 0);
        close(channel->output);
        channel->output = -1;
}

size_t session_readable(const struct channel *channel)
{
        return channel->finished ? READ_SIZE : session_room(channel);
}

static void channel_free(struct channel *channel)
{
        session_close_input(channel);
        session_close_output(channel);
        free(channel->request);
        free(channel);
}

static void sweep(struct session *session)
{
        for (struct channel **at = &session->channels; *at;) {
                struct channel *channel = *at;
                if (channel->dead) {
                        *at = channel->next;
                        channel_free(channel);
                } else {
                        at = &channel->next;
                }
        }
}

void session_client_data(struct channel *channel, const void *bytes, size_t length)
{
        if (!channel->deaf)
                queue_add(&channel->pending, bytes, length);
}

static void end_input(struct channel *channel)
{
        session_close_input(channel);
        if (!channel->dead)
                channel->session->logic->input_ended(channel);
}

/* Writes what is there; with the last of it goes what the client closed. */
static void write_input(struct channel *channel)
{
        while (channel->input >= 0 && channel->pending.length) {
                ssize_t written = write(channel->input, queue_front(&channel->pending),
                                        channel->pending.length);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0 && errno == EAGAIN)
                        return;
                if (written < 0) {
                        end_input(channel);
                        return;
                }
                queue_drop(&channel->pending, (size_t)written);
                channel->session->active = clock_monotonic();
        }
        if (channel->input >= 0 && channel->client_done)
                end_input(channel);
}

static void on_input_ready(void *channel_, uint32_t events)
{
        struct channel *channel = channel_;
        if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLOUT))
                end_input(channel);
        else
                write_input(channel);
        update(channel->session);
}

static void on_output_ready(void *channel_, uint32_t events)
{
        struct channel *channel = channel_;
        struct session *session = channel->session;
        char bytes[READ_SIZE];
        size_t room = session_readable(channel);
        (void)events;
        if (!room) {
                update(session);
                return;
        }
        ssize_t length = read(channel->output, bytes, room < sizeof bytes ? room : sizeof bytes);
        if (length > 0) {
                session->active = session->last_output = clock_monotonic();
                session_send(channel, bytes, (size_t)length);
        } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
                session_close_output(channel); /* EIO: a terminal that nobody has open any more */
                session->logic->output_ended(channel);
        }
        update(session);
}

/* ---- the connection ---- */

/* The client's side is over: what is left is the backend's end. */
static void gone(struct session *session)
{
        if (session->state == SESSION_GONE)
                return;
        session->state = SESSION_GONE;
        pump_timer_clear(session->pump, &session->timer);
        pump_watch(session->pump, &session->watch, 0);
        for (struct channel *channel = session->channels; channel; channel = channel->next)
                channel->dead = true;
        sweep(session);
        queue_fini(&session->out);
        session->released(session->released_argument);
        bridge_close(session->bridge);
}

void session_complete(struct session *session)
{
        if (session->state != SESSION_RUNNING)
                return;
        for (struct channel *channel = session->channels; channel; channel = channel->next) {
                session_finish(channel);
                session_close_input(channel);
                session_close_output(channel);
        }
        session_wire_goodbye(session);
        session->state = SESSION_SAYING_GOODBYE;
        session->deadline = clock_after(session->options.idle_timeout);
}

/*
 * Closing at once, with bytes of the client's unread, would make the kernel reset the connection,
 * and the client might lose the end of what it was sent. So it is closed when the client has closed
 * its end.
 */
static void said_goodbye(struct session *session)
{
        shutdown(session->fd, SHUT_WR);
        session->state = SESSION_LINGERING;
        session->deadline = clock_after(SESSION_GOODBYE_TIME);
}

static bool flush(struct session *session)
{
        while (session->out.length) {
                ssize_t sent = send(session->fd, queue_front(&session->out), session->out.length,
                                    MSG_NOSIGNAL);
                if (sent < 0 && errno == EINTR)
                        continue;
                if (sent < 0)
                        return errno == EAGAIN;
                queue_drop(&session->out, (size_t)sent);
                session->active = clock_monotonic();
        }
        return true;
}

static bool take_in(struct session *session, const void *bytes, size_t length)
{
        struct error err = {0};
        session->active = clock_monotonic();
        if (session->state != SESSION_RUNNING)
                return true;
        int result = session_wire_receive(session, bytes, length, &err);
        if (result < 0 && result != -ECANCELED)
                log_failure(&err, "streaming: the client's bytes cannot be understood", "of",
                            session->options.name, NULL);
        if (result < 0)
                flush(session); /* the answer to a close */
        for (struct channel *channel = session->channels; channel; channel = channel->next)
                write_input(channel);
        return result == 0;
}

static void on_socket_ready(void *session_, uint32_t events)
{
        struct session *session = session_;
        char bytes[READ_SIZE];
        bool well = true;
        if (events & EPOLLOUT)
                well = flush(session);
        if (well && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
                ssize_t length = recv(session->fd, bytes, sizeof bytes, 0);
                if (length > 0)
                        well = take_in(session, bytes, (size_t)length);
                else
                        well = length < 0 && (errno == EAGAIN || errno == EINTR);
        }
        if (well)
                update(session);
        else
                gone(session);
}

/* ---- what is waited for ---- */

static void on_time(void *session_)
{
        struct session *session = session_;
        int64_t now = clock_monotonic();
        if (now >= session->active + session->options.idle_timeout) {
                bound_reached(BOUND_IDLE_TIME);
                log_info("streaming: ended, for nothing came or went for too long", "of",
                         session->options.name, NULL);
                gone(session);
                return;
        }
        if (now >= session->deadline) {
                session->deadline = CLOCK_NEVER;
                if (session->state != SESSION_RUNNING) {
                        bound_reached(BOUND_GOODBYE_TIME);
                        gone(session);
                        return;
                }
                session->logic->due(session);
        }
        update(session);
}

static bool is_full(const struct session *session)
{
        for (const struct channel *channel = session->channels; channel; channel = channel->next)
                if (channel->pending.length >= STREAM_QUEUE_MAX)
                        return true;
        return false;
}

/* After everything that happens. */
static void update(struct session *session)
{
        if (session->state == SESSION_GONE)
                return;
        sweep(session);
        if (!flush(session)) {
                gone(session);
                return;
        }
        if (session->state == SESSION_SAYING_GOODBYE && !session->out.length)
                said_goodbye(session);
        for (struct channel *channel = session->channels; channel; channel = channel->next) {
                if (channel->input >= 0)
                        pump_watch(session->pump, &channel->input_watch,
                                   channel->pending.length ? EPOLLOUT : 0);
                if (channel->output >= 0)
                        pump_watch(session->pump, &channel->output_watch,
                                   session_readable(channel) ? EPOLLIN : 0);
        }
        pump_watch(session->pump, &session->watch,
                   (is_full(session) ? 0 : EPOLLIN) | (session->out.length ? EPOLLOUT : 0));
        int64_t idle = session->active + session->options.idle_timeout;
        pump_timer_set(session->pump, &session->timer,
                       session->deadline < idle ? session->deadline : idle);
}

/* ---- answers of the backend ---- */

static void close_ends(const struct stream_ends *ends)
{
        const int fds[] = {ends->input, ends->output, ends->errors};
        for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
}

static void on_opened(void *session_, const struct stream_ends *ends, const struct error *failure)
{
        struct session *session = session_;
        if (session->state == SESSION_RUNNING)
                session->logic->answers.opened(session, ends, failure);
        else if (!failure)
                close_ends(ends);
        for (struct channel *channel = session->channels; channel; channel = channel->next)
                write_input(channel);
        update(session);
}

static void on_ended(void *session_, int exit_code, const struct error *failure)
{
        struct session *session = session_;
        if (session->state == SESSION_RUNNING)
                session->logic->answers.ended(session, exit_code, failure);
        update(session);
}

static void on_connected(void *session_, uint32_t connection, int fd, const struct error *failure)
{
        struct session *session = session_;
        if (session->state == SESSION_RUNNING)
                session->logic->answers.connected(session, connection, fd, failure);
        else if (fd >= 0)
                close(fd);
        for (struct channel *channel = session->channels; channel; channel = channel->next)
                write_input(channel);
        update(session);
}

static void session_free(struct session *session)
{
        if (session->previous)
                session->previous->next = session->next;
        else
                all = session->next;
        if (session->next)
                session->next->previous = session->previous;
        session_wire_fini(session);
        queue_fini(&session->resize);
        free(session->failure);
        free(session);
        atomic_fetch_sub(&count, 1);
}

static void on_closed(void *session)
{
        session_free(session);
}

void session_abandon_all(void)
{
        while (all) {
                struct session *session = all;
                if (session->state != SESSION_GONE) {
                        for (struct channel *channel = session->channels; channel;
                             channel = channel->next) {
                                /* no epoll set has them any more */
                                channel->input_watch.events = channel->output_watch.events = 0;
                                channel->dead = true;
                        }
                        sweep(session);
                        queue_fini(&session->out);
                        session->released(session->released_argument);
                }
                bridge_abandon(session->bridge);
                session_free(session);
        }
}

/* ---- the start ---- */

struct start {
        struct session *session;
        struct queue early;
};

static void start(void *start_)
{
        static const struct bridge_events answers = {on_opened, on_ended, on_connected, on_closed};
        struct start *start = start_;
        struct session *session = start->session;
        session->next = all;
        if (all)
                all->previous = session;
        all = session;
        session->active = clock_monotonic();
        bridge_attach(session->bridge, &answers, session);
        session_wire_init(session);
        session->logic->begin(session);
        if (start->early.length &&
            !take_in(session, queue_front(&start->early), start->early.length))
                gone(session);
        else
                update(session);
        queue_fini(&start->early);
        free(start);
}

void session_start(struct pump *pump, struct bridge *bridge, const struct session_options *options,
                   int fd, const void *early, size_t early_length, void (*released)(void *argument),
                   void *argument)
{
        struct session *session = xcalloc(1, sizeof *session);
        struct start *starting = xcalloc(1, sizeof *starting);
        *session = (struct session){
                .pump = pump,
                .bridge = bridge,
                .logic = options->kind == STREAM_PORT_FORWARD ? &session_port_forward
                                                              : &session_remote_command,
                .options = *options,
                .fd = fd,
                .watch = {fd, 0, on_socket_ready, session},
                .released = released,
                .released_argument = argument,
                .timer = {.callback = on_time, .argument = session},
                .deadline = CLOCK_NEVER,
        };
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        starting->session = session;
        queue_add(&starting->early, early, early_length);
        atomic_fetch_add(&count, 1);
        pump_post(pump, start, starting);
}
