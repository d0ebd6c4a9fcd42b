#include "cri/stream/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "cri/stream/bounds.h"
#include "cri/stream/queue.h"

#define PIECE_SIZE (16 * 1024) /* bytes: a TLS record's worth */

struct relay {
        struct relays *relays;
        struct relay *previous, *next;
        SSL *tls;         /* null while it waits for a look at the certificate's files */
        int outer, inner; /* the client's connection, and ours to the server; -1: none yet */
        struct pump_watch outer_watch, inner_watch;
        struct queue to_inner, to_outer;
        bool wants_write;              /* the library does, before it goes on */
        bool outer_ended, inner_ended; /* no more comes from there */
        bool outer_told, inner_told;   /* no more comes from us */
        bool deaf;                     /* the server is: what comes is dropped */
        struct pump_timer timer;       /* of the look, the handshake, or the client's goodbye */
};

struct relays {
        struct pump *pump;
        struct tls *tls;
        const struct tls_library *library;
        struct pump_watch watch; /* of the listener */
        unsigned count, max;
        struct relay *first;
        bool looking; /* at the certificate's files */
        int64_t look_deadline;
        void (*deliver)(void *argument, int fd);
        void *argument;
};

static void watch_listener(struct relays *relays)
{
        pump_watch(relays->pump, &relays->watch, relays->count < relays->max ? EPOLLIN : 0);
}

static void relay_free(struct relay *relay)
{
        struct relays *relays = relay->relays;
        if (relay->previous)
                relay->previous->next = relay->next;
        else
                relays->first = relay->next;
        if (relay->next)
                relay->next->previous = relay->previous;
        relays->count--;
        if (relay->tls)
                relays->library->free(relay->tls);
        close(relay->outer);
        if (relay->inner >= 0)
                close(relay->inner);
        queue_fini(&relay->to_inner);
        queue_fini(&relay->to_outer);
        free(relay);
}

static void relay_end(struct relay *relay)
{
        struct relays *relays = relay->relays;
        pump_timer_clear(relays->pump, &relay->timer);
        pump_watch(relays->pump, &relay->outer_watch, 0);
        pump_watch(relays->pump, &relay->inner_watch, 0);
        relay_free(relay);
        watch_listener(relays);
}

/* What a call of the library that did not succeed means: 0 to wait, 1 for the orderly end, -1 for
 * any other end. */
static int meaning(struct relay *relay, int result)
{
        switch (relay->relays->library->get_error(relay->tls, result)) {
        case SSL_ERROR_WANT_READ:
                return 0;
        case SSL_ERROR_WANT_WRITE:
                relay->wants_write = true;
                return 0;
        case SSL_ERROR_ZERO_RETURN:
                return 1;
        default:
                relay->relays->library->clear_error();
                return -1;
        }
}

static void on_inner(void *relay, uint32_t events);

/* The handshake is done: the server gets the other end. */
static bool open_inner(struct relay *relay)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
                return false;
        relay->inner = ends[0];
        relay->inner_watch = (struct pump_watch){ends[0], 0, on_inner, relay};
        pump_timer_clear(relay->relays->pump, &relay->timer);
        relay->relays->deliver(relay->relays->argument, ends[1]);
        return true;
}

/*
 * Each of these goes as far as it can; false ends the relay. Where the server has closed its end,
 * what it said before still is the client's: that is read to its end and dropped meanwhile, for
 * closing over unread bytes makes the kernel reset the connection.
 */

static bool read_outer(struct relay *relay)
{
        size_t dropped = 0;
        while (!relay->outer_ended && relay->to_inner.length + dropped < STREAM_QUEUE_MAX) {
                char *room = queue_reserve(&relay->to_inner, PIECE_SIZE);
                int got = relay->relays->library->read(relay->tls, room, PIECE_SIZE);
                if (got > 0) {
                        if (relay->deaf)
                                dropped += (size_t)got; /* not without an end in one go */
                        else
                                queue_added(&relay->to_inner, (size_t)got);
                        continue;
                }
                int what = meaning(relay, got);
                if (what < 0)
                        return false;
                relay->outer_ended = what > 0;
                break;
        }
        return true;
}

static void write_inner(struct relay *relay)
{
        while (relay->to_inner.length) {
                ssize_t sent = send(relay->inner, queue_front(&relay->to_inner),
                                    relay->to_inner.length, MSG_NOSIGNAL);
                if (sent < 0 && errno == EINTR)
                        continue;
                if (sent < 0 && errno == EAGAIN)
                        return;
                if (sent < 0) {
                        queue_fini(&relay->to_inner);
                        relay->deaf = relay->inner_told = true;
                        return;
                }
                queue_drop(&relay->to_inner, (size_t)sent);
        }
        if (relay->outer_ended && !relay->inner_told) {
                shutdown(relay->inner, SHUT_WR);
                relay->inner_told = true;
        }
}

static void read_inner(struct relay *relay)
{
        while (!relay->inner_ended && relay->to_outer.length < STREAM_QUEUE_MAX) {
                char *room = queue_reserve(&relay->to_outer, PIECE_SIZE);
                ssize_t got = recv(relay->inner, room, PIECE_SIZE, 0);
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0 && errno == EAGAIN)
                        return;
                if (got > 0)
                        queue_added(&relay->to_outer, (size_t)got);
                else
                        relay->inner_ended = true;
        }
}

/* Who takes nothing, or does not close its end, keeps its place for so long and no longer. */
static void wait_for_client(struct relay *relay)
{
        pump_timer_set(relay->relays->pump, &relay->timer, clock_after(RELAY_GOODBYE_TIME));
}

static bool write_outer(struct relay *relay)
{
        while (relay->to_outer.length) {
                size_t length =
                        relay->to_outer.length < PIECE_SIZE ? relay->to_outer.length : PIECE_SIZE;
                int sent = relay->relays->library->write(relay->tls, queue_front(&relay->to_outer),
                                                         (int)length);
                if (sent <= 0)
                        return meaning(relay, sent) == 0;
                queue_drop(&relay->to_outer, (size_t)sent);
                if (relay->inner_ended)
                        wait_for_client(relay);
        }
        if (relay->inner_ended && !relay->outer_told) {
                /* Without the whole of it the client takes the end for one that somebody made. */
                int told = relay->relays->library->shutdown(relay->tls);
                if (told < 0)
                        return meaning(relay, told) == 0;
                shutdown(relay->outer, SHUT_WR);
                relay->outer_told = true;
                wait_for_client(relay);
        }
        return true;
}

static bool shake_hands(struct relay *relay)
{
        int result = relay->relays->library->accept(relay->tls);
        if (result == 1)
                return open_inner(relay);
        return meaning(relay, result) == 0;
}

static void go_on(struct relay *relay)
{
        bool well = true;
        relay->wants_write = false;
        /* What an earlier call left there, for another connection too, would count as this one's.
         */
        relay->relays->library->clear_error();
        if (relay->inner < 0)
                well = shake_hands(relay);
        if (well && relay->inner >= 0 && (well = read_outer(relay))) {
                write_inner(relay);
                bool ended = relay->inner_ended;
                read_inner(relay);
                if (relay->inner_ended && !ended)
                        wait_for_client(relay);
                well = write_outer(relay);
        }
        if (!well || (relay->outer_told && relay->inner_told && relay->outer_ended)) {
                relay_end(relay);
                return;
        }
        struct pump *pump = relay->relays->pump;
        bool reads = !relay->outer_ended && relay->to_inner.length < STREAM_QUEUE_MAX;
        bool writes = relay->wants_write || relay->to_outer.length;
        pump_watch(pump, &relay->outer_watch, (reads ? EPOLLIN : 0) | (writes ? EPOLLOUT : 0));
        if (relay->inner < 0)
                return;
        reads = !relay->inner_ended && relay->to_outer.length < STREAM_QUEUE_MAX;
        pump_watch(pump, &relay->inner_watch,
                   (reads ? EPOLLIN : 0) | (relay->to_inner.length ? EPOLLOUT : 0));
}

static void on_outer(void *relay, uint32_t events)
{
        (void)events;
        go_on(relay);
}

static void on_inner(void *relay, uint32_t events)
{
        (void)events;
        go_on(relay);
}

static void begin(struct relay *relay)
{
        relay->tls = tls_session(relay->relays->tls, relay->outer);
        if (!relay->tls) {
                relay_end(relay);
                return;
        }
        pump_timer_set(relay->relays->pump, &relay->timer, clock_after(RELAY_HANDSHAKE_TIME));
        go_on(relay);
}

static void on_time(void *relay_)
{
        struct relay *relay = relay_;
        if (!relay->tls) {
                bound_reached(BOUND_CERTIFICATE_TIME);
                begin(relay);
                return;
        }
        bound_reached(relay->inner < 0 ? BOUND_REQUEST_TIME : BOUND_GOODBYE_TIME);
        relay_end(relay);
}

static void looked(void *relays_)
{
        struct relays *relays = relays_;
        relays->looking = false;
        for (struct relay *relay = relays->first, *next; relay; relay = next) {
                next = relay->next;
                if (!relay->tls)
                        begin(relay);
        }
}

/* A connection gets the certificate that is there when it comes, unless its disk hangs: nothing
 * waits longer than RELAY_LOOK_TIME for one look. */
static void look(struct relays *relays)
{
        if (relays->looking)
                return;
        relays->looking = true;
        relays->look_deadline = clock_after(RELAY_LOOK_TIME);
        tls_refresh(relays->tls, relays->pump, looked, relays);
}

static void take_client(struct relays *relays, int fd)
{
        int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct relay *relay = xcalloc(1, sizeof *relay);
        *relay = (struct relay){.relays = relays,
                                .next = relays->first,
                                .outer = fd,
                                .inner = -1,
                                .outer_watch = {fd, 0, on_outer, relay},
                                .timer = {.callback = on_time, .argument = relay}};
        if (relay->next)
                relay->next->previous = relay;
        relays->first = relay;
        relays->count++;
        look(relays);
        pump_timer_set(relays->pump, &relay->timer, relays->look_deadline);
}

static void on_client(void *relays_, uint32_t events)
{
        struct relays *relays = relays_;
        (void)events;
        int fd = accept4(relays->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
                take_client(relays, fd);
        watch_listener(relays);
}

static void start(void *relays)
{
        watch_listener(relays);
}

struct relays *relays_start(struct pump *pump, struct tls *tls, int listener, unsigned max,
                            void (*deliver)(void *argument, int fd), void *argument)
{
        struct relays *relays = xcalloc(1, sizeof *relays);
        *relays = (struct relays){.pump = pump,
                                  .tls = tls,
                                  .library = tls_library(tls),
                                  .watch = {listener, 0, on_client, relays},
                                  .max = max,
                                  .deliver = deliver,
                                  .argument = argument};
        pump_post(pump, start, relays);
        return relays;
}

void relays_free(struct relays *relays)
{
        if (!relays)
                return;
        while (relays->first)
                relay_free(relays->first);
        free(relays);
}
