/*
 * session_private: what the files of a session share. For nobody else.
 */
#ifndef CRISP_CRI_STREAM_SESSION_PRIVATE_H
#define CRISP_CRI_STREAM_SESSION_PRIVATE_H

#include "cri/stream/queue.h"
#include "cri/stream/session.h"
#include "cri/stream/spdy.h"

struct channels;
struct websocket;

enum channel_role {
        CHANNEL_INPUT,
        CHANNEL_OUTPUT,
        CHANNEL_ERRORS,
        CHANNEL_STATUS, /* the error stream: how it ended */
        CHANNEL_RESIZE,
        CHANNEL_CONNECTION, /* a forwarded connection's bytes, both ways */
};

/* A stream of the client's, and what it is connected to. */
struct channel {
        struct session *session;
        struct channel *next;
        uint32_t stream; /* SPDY's number, or a WebSocket channel's */
        enum channel_role role;
        int input; /* what the client sends goes there; -1: not yet, or no more */
        struct pump_watch input_watch;
        struct queue pending; /* of it */
        bool client_done;     /* no more comes of it */
        bool deaf;            /* what comes is dropped: nobody reads it */
        int output;           /* what is read there goes to the client; -1 likewise */
        struct pump_watch output_watch;
        bool finished; /* the client was told that no more comes */
        bool dead;     /* to be freed at the next turn */
        /* of a forwarded connection (port_forward.c) */
        uint32_t connection; /* the pair's number */
        uint16_t port;
        char *request;            /* its requestID, or null */
        struct channel *partner;  /* the connection's status channel, and the other way round */
        int64_t partner_deadline; /* until the partner has to be there; 0: it is */
};

enum session_state {
        SESSION_RUNNING,
        SESSION_SAYING_GOODBYE, /* what is queued goes out */
        SESSION_LINGERING,      /* until the client has closed its end */
        SESSION_GONE,           /* until the backend is done */
};

struct session_logic {
        void (*begin)(struct session *session);
        /* SPDY only. Null refuses it. */
        struct channel *(*opened)(struct session *session, uint32_t stream,
                                  const struct spdy_header *headers, size_t count);
        /* Of a channel whose role is neither input nor connection. */
        void (*data)(struct channel *channel, const void *bytes, size_t length);
        void (*client_finished)(struct channel *channel, bool reset);
        void (*output_ended)(struct channel *channel);
        /* All that the client sent is written, or nobody reads it any more. */
        void (*input_ended)(struct channel *channel);
        /* session->deadline has come. */
        void (*due)(struct session *session);
        struct bridge_events answers;
};

struct session {
        struct session *previous, *next; /* of all */
        struct pump *pump;
        struct bridge *bridge;
        const struct session_logic *logic;
        struct session_options options;
        enum session_state state;
        int fd;
        struct pump_watch watch;
        struct queue out;
        void (*released)(void *argument);
        void *released_argument;
        /* the framing: one of the first two, and the third around spdy */
        struct spdy *spdy;
        struct channels *web;
        struct websocket *tunnel;
        bool tunnel_broken; /* what came through it is not SPDY */
        struct channel *channels;
        struct pump_timer timer;
        int64_t deadline; /* the logic's; CLOCK_NEVER */
        int64_t active;   /* when the last byte came or went */
        /* of remote commands */
        unsigned streams_expected, streams_there;
        bool opened;    /* the backend was asked to */
        bool has_ended; /* the command has */
        int exit_code;
        int64_t ended_at, last_output;
        char *failure; /* why it could not run; or null */
        struct queue resize;
        uint16_t rows, columns;
        bool size_known, size_wanted; /* wanted: to be told once it is open */
        /* of port-forwards */
        uint32_t newest_connection;
        unsigned connections;
};

extern const struct session_logic session_remote_command, session_port_forward;

/* ---- session_wire.c: what the client is sent ---- */

void session_wire_init(struct session *session);
void session_wire_fini(struct session *session);
int session_wire_receive(struct session *session, const void *bytes, size_t length,
                         struct error *err);
/* How many bytes the channel may be sent just now. */
size_t session_room(const struct channel *channel);
void session_send(struct channel *channel, const void *bytes, size_t length);
/* No more comes on the channel. */
void session_finish(struct channel *channel);
void session_reset(struct channel *channel);
void session_wire_goodbye(struct session *session);

/* ---- session.c ---- */

struct channel *session_channel_new(struct session *session, uint32_t stream,
                                    enum channel_role role);
struct channel *session_channel(const struct session *session, uint32_t stream);
struct channel *session_channel_of(const struct session *session, enum channel_role role);
/* Takes the descriptor. */
void session_set_input(struct channel *channel, int fd);
void session_set_output(struct channel *channel, int fd);
void session_close_input(struct channel *channel);
void session_close_output(struct channel *channel);
/* How many bytes may be read of its output now: what nobody asked for is read and dropped. */
size_t session_readable(const struct channel *channel);
/* What the client sent on a channel that has an input, or will have one. */
void session_client_data(struct channel *channel, const void *bytes, size_t length);
/* All is said: what is queued still goes out, then the connection ends. */
void session_complete(struct session *session);

#endif
