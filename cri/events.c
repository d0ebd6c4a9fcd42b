#include "cri/events.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "cri/container.h"
#include "cri/packed.h"
#include "cri/pod.h"

/* Numbers of ContainerEventResponse's fields. */
#define FIELD_POD        4
#define FIELD_CONTAINERS 5

/* An event, counted: one for each queue that it is in. */
struct event_message {
        unsigned refs;
        enum event_kind kind;
        int64_t created_at; /* real time, ns; of no two the same */
        struct pod *pod;    /* what it is of, until it is packed */
        struct container *container;

        char id[ID_LENGTH + 1];
        ProtobufCMessageUnknownField *fields; /* the statuses; null until it is packed */
        size_t field_count;
        size_t bytes;
};

struct waiting {
        struct event_message *event;
        struct waiting *next;
};

struct queue {
        struct waiting *first, **last; /* last is null for an empty queue that is all zeroes */
        size_t count, bytes;
};

/* On the stack of its stream's task. */
struct client {
        struct queue queue;
        struct event news;
        uint64_t lost; /* events that it will not get */
        bool joined;   /* it is in the list */
        struct client *next;
};

static struct {
        struct client *clients;
        struct queue unheard;
        bool keeping;         /* nobody has listened, but somebody may come back */
        struct timer *expiry; /* the end of keeping */
        bool recovered, stopping;
        int64_t last_time;
        struct events_counts counts;
} events;

/* ---- an event ---- */

static struct event_message *message_new(struct pod *pod, struct container *container,
                                         enum event_kind kind)
{
        struct event_message *event = xcalloc(1, sizeof *event);
        event->refs = 1;
        event->kind = kind;
        event->pod = pod_ref(pod);
        event->container = container ? container_ref(container) : NULL;
        memcpy(event->id, container ? container->id : pod->id, sizeof event->id);
        /* The kubelet takes what is not newer than what it has for old. */
        int64_t now = clock_real();
        event->created_at = events.last_time = now > events.last_time ? now : events.last_time + 1;
        return event;
}

static void let_go(struct event_message *event)
{
        container_unref(take_ptr(event->container));
        pod_unref(take_ptr(event->pod));
}

static void message_unref(struct event_message *event)
{
        if (!event || --event->refs)
                return;
        let_go(event);
        for (size_t i = 0; i < event->field_count; i++)
                free(event->fields[i].data);
        free(event->fields);
        free(event);
}

static void cleanup_message(struct event_message **event)
{
        message_unref(*event);
}

static void add_field(struct event_message *event, unsigned number, const ProtobufCMessage *status)
{
        size_t size;
        uint8_t *bytes = packed_message(status, &size);
        event->fields[event->field_count++] = packed_field(number, bytes, size);
        event->bytes += size;
}

/* Takes the statuses of this moment in, for every client and only once. */
static void message_pack(struct event_message *event)
{
        if (event->fields)
                return;
        AUTO_ARENA struct arena *arena = arena_new();
        size_t count;
        Runtime__V1__ContainerStatus **statuses =
                pod_containers_statuses(event->pod, arena, &count);
        event->fields = xcalloc(count + 1, sizeof *event->fields);
        add_field(event, FIELD_POD, &pod_status(event->pod, arena)->base);
        for (size_t i = 0; i < count; i++)
                add_field(event, FIELD_CONTAINERS, &statuses[i]->base);
        let_go(event);
}

static int message_send(struct event_message *event, struct rpc *rpc, struct error *err)
{
        static const Runtime__V1__ContainerEventType types[] = {
                [EVENT_CREATED] = RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_CREATED_EVENT,
                [EVENT_STARTED] = RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STARTED_EVENT,
                [EVENT_STOPPED] = RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT,
                [EVENT_DELETED] = RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_DELETED_EVENT,
        };
        Runtime__V1__ContainerEventResponse message;
        runtime__v1__container_event_response__init(&message);
        message.container_id = event->id;
        message.container_event_type = types[event->kind];
        message.created_at = event->created_at;
        message.base.unknown_fields = event->fields;
        message.base.n_unknown_fields = (unsigned)event->field_count;
        return rpc_send(rpc, &message, err);
}

/* ---- queues ---- */

/* Takes a reference over. */
static void queue_add(struct queue *queue, struct event_message *event)
{
        struct waiting *waiting = xcalloc(1, sizeof *waiting);
        waiting->event = event;
        if (!queue->last)
                queue->last = &queue->first;
        *queue->last = waiting;
        queue->last = &waiting->next;
        queue->count++;
        queue->bytes += event->bytes;
}

/* The oldest one, with its reference; or null. */
static struct event_message *queue_take(struct queue *queue)
{
        struct waiting *waiting = queue->first;
        if (!waiting)
                return NULL;
        struct event_message *event = waiting->event;
        queue->first = waiting->next;
        if (!queue->first)
                queue->last = &queue->first;
        queue->count--;
        queue->bytes -= event->bytes;
        free(waiting);
        return event;
}

static size_t queue_clear(struct queue *queue)
{
        size_t count = queue->count;
        for (struct event_message *event; (event = queue_take(queue));)
                message_unref(event);
        return count;
}

/* ---- nobody listens ---- */

static void keep_no_longer(void *argument)
{
        (void)argument;
        timer_free(take_ptr(events.expiry));
        events.keeping = false;
        queue_clear(&events.unheard);
}

static void keep_for_a_while(void)
{
        if (events.keeping || events.stopping)
                return;
        events.keeping = true;
        events.expiry = timer_new(clock_after(EVENTS_UNHEARD_TIME), keep_no_longer, NULL);
}

/* Takes a reference over. Statuses are not packed for nobody: a pod of many containers would cost a
 * lot. */
static void keep(struct event_message *event)
{
        queue_add(&events.unheard, event);
        if (events.unheard.count > EVENTS_UNHEARD_MAX) {
                message_unref(queue_take(&events.unheard));
                events.counts.dropped_unheard++;
        }
}

/* What was kept goes to the first client that comes; where that is more than the bound, the newest
 * of it. */
static void take_unheard(struct client *client)
{
        struct event_message *kept[EVENTS_UNHEARD_MAX];
        size_t count = 0, bytes = 0, first;
        for (struct event_message *event; (event = queue_take(&events.unheard));)
                kept[count++] = event;
        for (first = count; first > 0 && bytes < EVENTS_BYTES_MAX / 2; first--) {
                message_pack(kept[first - 1]);
                bytes += kept[first - 1]->bytes;
        }
        events.counts.dropped_unheard += first;
        for (size_t i = 0; i < count; i++) {
                if (i < first)
                        message_unref(kept[i]);
                else
                        queue_add(&client->queue, kept[i]);
        }
}

/* ---- clients ---- */

static void join(struct client *client)
{
        timer_free(take_ptr(events.expiry));
        events.keeping = false;
        take_unheard(client);
        client->joined = true;
        client->next = events.clients;
        events.clients = client;
        events.counts.clients++;
}

static void leave(struct client *client)
{
        if (!client->joined)
                return;
        for (struct client **link = &events.clients; *link; link = &(*link)->next) {
                if (*link == client) {
                        *link = client->next;
                        break;
                }
        }
        client->joined = false;
        events.counts.clients--;
        if (!events.clients)
                keep_for_a_while();
}

/* Drops what waits for a client that is too slow: its stream ends when it has taken what is on its
 * way. */
static void give_up(struct client *client)
{
        leave(client);
        client->lost = queue_clear(&client->queue) + 1;
        events.counts.dropped_slow += client->lost;
        log_warning("a client of GetContainerEvents is too slow: its stream ends", NULL);
        event_signal(&client->news);
}

static void offer(struct client *client, struct event_message *event)
{
        if (client->queue.count >= EVENTS_WAITING_MAX ||
            (client->queue.count && client->queue.bytes + event->bytes > EVENTS_BYTES_MAX)) {
                give_up(client);
                return;
        }
        event->refs++;
        queue_add(&client->queue, event);
        event_signal(&client->news);
}

int events_stream_handler(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        struct client client = {0};
        int result = 0;
        (void)request;
        (void)response;
        if (events.counts.clients >= EVENTS_CLIENTS_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "%s: %d clients listen already",
                                 rpc->method, EVENTS_CLIENTS_MAX);
        join(&client);
        task_set_interruptible(true);
        while (result == 0) {
                CLEANUP(cleanup_message) struct event_message *event = queue_take(&client.queue);
                if (event)
                        result = message_send(event, rpc, err);
                else if (client.lost)
                        result = error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                           "%s: the client reads too slowly and has lost %llu "
                                           "events: list again",
                                           rpc->method, (unsigned long long)client.lost);
                else if (events.stopping)
                        result = error_set(err, ERROR_UNAVAILABLE, "%s: the daemon is stopping",
                                           rpc->method);
                else if (task_wait(&client.news, CLOCK_NEVER) < 0 || rpc_cancelled(rpc))
                        result = error_set(err, ERROR_CANCELLED,
                                           "%s: the client has gone away, or its time is over",
                                           rpc->method);
        }
        leave(&client);
        queue_clear(&client.queue);
        return result;
}

/* ---- telling ---- */

static void tell(struct pod *pod, struct container *container, enum event_kind kind)
{
        events.counts.told[kind]++;
        if (!events.clients && !events.keeping)
                return;
        CLEANUP(cleanup_message)
        struct event_message *event = message_new(pod, container, kind);
        if (!events.clients) {
                keep(take_ptr(event));
                return;
        }
        message_pack(event);
        for (struct client *client = events.clients, *next; client; client = next) {
                next = client->next;
                offer(client, event);
        }
}

void events_tell_pod(struct pod *pod, enum event_kind kind)
{
        if (!events.recovered || !pod->claimed || pod->told >= kind)
                return;
        pod->told = kind;
        tell(pod, NULL, kind);
}

void events_tell_container(struct container *container, enum event_kind kind)
{
        if (!events.recovered || !container->claimed || container->told >= kind)
                return;
        container->told = kind;
        tell(container->pod, container, kind);
}

void events_recovered(void)
{
        size_t cursor = 0;
        events.recovered = true;
        keep_for_a_while();
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                if (each->phase == CONTAINER_EXITED)
                        events_tell_container(each, EVENT_STOPPED);
        cursor = 0;
        for (struct pod *each; (each = table_next(node.pods, &cursor, NULL));)
                if (each->phase == POD_NOTREADY)
                        events_tell_pod(each, EVENT_STOPPED);
}

void events_stop(void)
{
        events.stopping = true;
        for (struct client *client = events.clients; client; client = client->next)
                event_signal(&client->news);
}

void events_close(void)
{
        timer_free(take_ptr(events.expiry));
        queue_clear(&events.unheard);
}

void events_count(struct events_counts *counts)
{
        *counts = events.counts;
}
