#include "cri/stream/bridge.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/task.h"

struct bridge {
        struct pump *pump;
        const struct stream_backend *backend;
        void *context;
        const struct bridge_events *events;
        void *session;
        /* the loop's thread's */
        struct task *main; /* that opens and waits, while it does */
        unsigned busy;     /* tasks under way */
        bool closing;
        struct event idle;      /* signalled when busy sinks to zero */
        struct task *sizer;     /* that tells the backend of sizes, while it does */
        bool size_wanted;       /* it has one more to tell */
        uint16_t rows, columns; /* of the last one */
};

/* What travels between the threads. */
struct message {
        struct bridge *bridge;
        struct stream_ends ends;
        struct error error;
        bool failed;
        int number; /* exit code, descriptor */
        uint32_t connection;
        uint16_t port, rows, columns;
};

struct bridge *bridge_new(struct pump *pump, const struct stream_backend *backend, void *context)
{
        struct bridge *bridge = xcalloc(1, sizeof *bridge);
        bridge->pump = pump;
        bridge->backend = backend;
        bridge->context = context;
        return bridge;
}

void bridge_attach(struct bridge *bridge, const struct bridge_events *events, void *session)
{
        bridge->events = events;
        bridge->session = session;
}

static struct message *message_new(struct bridge *bridge)
{
        struct message *message = xcalloc(1, sizeof *message);
        message->bridge = bridge;
        return message;
}

static const struct error *failure_of(const struct message *message)
{
        return message->failed ? &message->error : NULL;
}

/* ---- answers: on the pump's thread ---- */

static void tell_opened(void *message_)
{
        AUTO_FREE struct message *message = message_;
        struct bridge *bridge = message->bridge;
        bridge->events->opened(bridge->session, &message->ends, failure_of(message));
}

static void tell_ended(void *message_)
{
        AUTO_FREE struct message *message = message_;
        struct bridge *bridge = message->bridge;
        bridge->events->ended(bridge->session, message->number, failure_of(message));
}

static void tell_connected(void *message_)
{
        AUTO_FREE struct message *message = message_;
        struct bridge *bridge = message->bridge;
        bridge->events->connected(bridge->session, message->connection, message->number,
                                  failure_of(message));
}

static void tell_closed(void *bridge_)
{
        AUTO_FREE struct bridge *bridge = bridge_;
        bridge->events->closed(bridge->session);
}

/* ---- tasks: on the loop's thread ---- */

static void task_done(struct bridge *bridge)
{
        if (--bridge->busy == 0)
                event_signal(&bridge->idle);
}

static void open_and_wait(void *message_)
{
        struct message *opened = message_;
        struct bridge *bridge = opened->bridge;
        struct message *ended = message_new(bridge);
        bridge->main = task_self();
        opened->ends = (struct stream_ends){-1, -1, -1};
        if (bridge->closing)
                task_interrupt(bridge->main);
        opened->failed = bridge->backend->open(bridge->context, &opened->ends, &opened->error) < 0;
        bool failed = opened->failed;
        pump_post(bridge->pump, tell_opened, opened);
        if (!failed) {
                ended->failed =
                        bridge->backend->wait(bridge->context, &ended->number, &ended->error) < 0;
                pump_post(bridge->pump, tell_ended, ended);
        } else {
                free(ended);
        }
        bridge->main = NULL;
        task_done(bridge);
}

static void connect_port(void *message_)
{
        struct message *message = message_;
        struct bridge *bridge = message->bridge;
        message->number = -1;
        message->failed = bridge->backend->connect(bridge->context, message->port, &message->number,
                                                   &message->error) < 0;
        pump_post(bridge->pump, tell_connected, message);
        task_done(bridge);
}

static void close_whole(void *bridge_)
{
        struct bridge *bridge = bridge_;
        while (bridge->busy)
                task_wait(&bridge->idle, CLOCK_NEVER);
        bridge->backend->close(bridge->context);
        if (bridge->events)
                pump_post(bridge->pump, tell_closed, bridge);
        else
                free(bridge);
}

/* ---- questions: from the pump's thread to the loop's ---- */

static void start_open(void *message_)
{
        struct message *message = message_;
        message->bridge->busy++;
        task_start("streaming", open_and_wait, message);
}

static void start_connect(void *message_)
{
        struct message *message = message_;
        message->bridge->busy++;
        task_start("port-forward", connect_port, message);
}

static void resize(void *bridge_)
{
        struct bridge *bridge = bridge_;
        task_set_interruptible(true); /* who hangs does not keep the end waiting */
        while (bridge->size_wanted && !bridge->closing) {
                bridge->size_wanted = false;
                bridge->backend->resize(bridge->context, bridge->rows, bridge->columns);
        }
        bridge->sizer = NULL;
        task_done(bridge);
}

/* One after the other: who is asked for two at once may come to the older one last. */
static void start_resize(void *message_)
{
        AUTO_FREE struct message *message = message_;
        struct bridge *bridge = message->bridge;
        bridge->rows = message->rows;
        bridge->columns = message->columns;
        bridge->size_wanted = true;
        if (bridge->sizer)
                return;
        bridge->busy++;
        bridge->sizer = task_start("resize", resize, bridge);
}

static void start_close(void *bridge_)
{
        struct bridge *bridge = bridge_;
        bridge->closing = true;
        if (bridge->main)
                task_interrupt(bridge->main);
        if (bridge->sizer)
                task_interrupt(bridge->sizer);
        task_start("streaming end", close_whole, bridge);
}

void bridge_open(struct bridge *bridge)
{
        loop_post(start_open, message_new(bridge));
}

void bridge_resize(struct bridge *bridge, uint16_t rows, uint16_t columns)
{
        struct message *message = message_new(bridge);
        message->rows = rows;
        message->columns = columns;
        loop_post(start_resize, message);
}

void bridge_connect(struct bridge *bridge, uint32_t connection, uint16_t port)
{
        struct message *message = message_new(bridge);
        message->connection = connection;
        message->port = port;
        loop_post(start_connect, message);
}

void bridge_close(struct bridge *bridge)
{
        loop_post(start_close, bridge);
}

void bridge_drop(struct bridge *bridge)
{
        loop_post(start_close, bridge);
}

void bridge_abandon(struct bridge *bridge)
{
        /* Where a task was at work with it, the task still is, for good. */
        if (!bridge->busy && !bridge->closing)
                bridge->backend->close(bridge->context);
        free(bridge);
}
