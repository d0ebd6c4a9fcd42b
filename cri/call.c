#include "cri/call.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "base/log.h"
#include "base/memory.h"
#include "cri/call_metrics.h"
#include "cri/rpc.h"
#include "cri/utf8.h"

/* A request may take this many times the message bound in memory: a container list's worth of small
 * fields does. */
#define DECODED_FACTOR 16

/* Bytes of an error's text on the wire, where all but printable ASCII take three: clients refuse
 * more than 8 KiB of trailers. */
#define STATUS_TEXT_MAX 6000

#define OPERATIONS_MAX 3

struct rpc_call {
        struct rpc rpc;
        struct call_set *set;
        const struct dispatch_method *method;
        const ProtobufCMessage *request;
        int64_t started; /* monotonic ns */
        atomic_uint references;
        atomic_bool cancelled;

        /* gRPC's; what an operation under way points to may not move */
        grpc_call *grpc;
        grpc_call_details details;
        grpc_metadata_array metadata;
        grpc_byte_buffer *received;
        grpc_byte_buffer *sent;
        int closed_early; /* RECV_CLOSE_ON_SERVER's result */
        struct call_operation requested, received_message, closed, written, answered;

        /* the loop's thread's */
        struct task *task; /* null before it starts and after it has ended */
        bool head_sent;    /* initial metadata is out, with the first message of a stream */
        bool writing, write_ok;
        struct event write_ended;

        /* the set's, under its lock */
        struct rpc_call *previous, *next;
        unsigned loop_references; /* those of references that the loop's thread will drop */
        struct rpc_call *next_abandoned;
};

/* ---- references ---- */

static void set_drained(void *argument)
{
        struct call_set *set = argument;

        set->drained = true;
        event_signal(&set->drained_event);
}

static void call_unref(struct rpc_call *call, unsigned count)
{
        struct call_set *set = call->set;

        if (atomic_fetch_sub_explicit(&call->references, count, memory_order_acq_rel) != count)
                return;

        if (call->grpc)
                grpc_call_unref(call->grpc);
        grpc_byte_buffer_destroy(call->received);
        grpc_byte_buffer_destroy(call->sent);
        grpc_metadata_array_destroy(&call->metadata);
        grpc_slice_unref(call->details.method);
        grpc_slice_unref(call->details.host);
        arena_free(call->rpc.arena);

        pthread_mutex_lock(&set->lock);
        if (call->previous)
                call->previous->next = call->next;
        else
                set->first = call->next;
        if (call->next)
                call->next->previous = call->previous;
        set->count--;
        bool tell = set->notify && set->count == 0 && !set->closing;
        if (set->count == 0)
                pthread_cond_signal(&set->ended);
        pthread_mutex_unlock(&set->lock);
        free(call);
        if (tell)
                loop_post(set_drained, set);
}

/* Has the loop's thread call function(call), which ends with loop_unref. Nothing happens once the
 * loop has ended. */
static void post(struct rpc_call *call, void (*function)(void *))
{
        struct call_set *set = call->set;

        pthread_mutex_lock(&set->lock);
        bool closing = set->closing;
        if (!closing) {
                call->loop_references++;
                atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
        }
        pthread_mutex_unlock(&set->lock);
        if (!closing)
                loop_post(function, call);
}

static void loop_unref(struct rpc_call *call)
{
        pthread_mutex_lock(&call->set->lock);
        assert(call->loop_references > 0);
        call->loop_references--;
        pthread_mutex_unlock(&call->set->lock);
        call_unref(call, 1);
}

/* Starts operations that end with operation->done, and hold a reference until then. */
static void start_batch(struct rpc_call *call, const grpc_op *ops, size_t count,
                        struct call_operation *operation)
{
        atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&call->set->handed_over, 1, memory_order_release);
        grpc_call_error result = grpc_call_start_batch(call->grpc, ops, count, operation, NULL);
        /* Only a wrong use of the interface fails here; what happens to the client is told through
         * done. */
        assert(result == GRPC_CALL_OK);
        (void)result;
}

/* ---- the reply ---- */

/* Bytes that gRPC makes of this one in a status text. */
static size_t encoded_size(unsigned char byte)
{
        return byte >= ' ' && byte < 0x7f && byte != '%' ? 1 : 3;
}

/* An error's text for the wire: UTF-8, and not too long for a client to take. */
static const char *status_text(struct arena *arena, const struct error *err)
{
        char text[ERROR_WORD_MAX + ERROR_MESSAGE_MAX + sizeof ": "];

        error_render(err, text, sizeof text);
        char *clean = arena_strdup(arena, utf8_clean(arena, text));
        size_t encoded = 0, at = 0;
        while (clean[at] && encoded + encoded_size((unsigned char)clean[at]) <= STATUS_TEXT_MAX)
                encoded += encoded_size((unsigned char)clean[at++]);
        if (clean[at])
                clean[utf8_valid(clean, at)] = '\0';
        return clean;
}

static void log_call(const struct rpc_call *call, enum error_code code, const char *text)
{
        /* A method's name is ours; a path that nobody knows is not worth more than a debug line,
         * nor is a client's change of mind or a question for what is gone. */
        bool ordinary = code == ERROR_OK || code == ERROR_NOT_FOUND || !call->method ||
                        (code == ERROR_CANCELLED && rpc_cancelled(&call->rpc));
        char duration[32];
        int64_t elapsed = clock_monotonic() - call->started;

        snprintf(duration, sizeof duration, "%" PRId64 ".%03d", elapsed / NSEC_PER_MSEC,
                 (int)(elapsed % NSEC_PER_MSEC / NSEC_PER_USEC));
        log_write(ordinary ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
                  code == ERROR_OK ? "call answered" : "call failed", "method", call->rpc.method,
                  "code", error_code_name(code), "error", text, "ms", duration, "request",
                  call->rpc.id, NULL);
}

/*
 * Sends the status, with the message in bytes (its reference is given) unless that is null, and
 * what else is missing. Any thread, once for a call, by whoever has it in hand.
 */
static void answer(struct rpc_call *call, grpc_byte_buffer *bytes, const struct error *err)
{
        enum error_code code = err ? err->code : ERROR_OK;
        const char *text = err ? status_text(call->rpc.arena, err) : NULL;
        grpc_slice details = text ? grpc_slice_from_copied_string(text) : grpc_empty_slice();
        grpc_op ops[OPERATIONS_MAX] = {0}, *op = ops;

        /* The call may end on the server's thread as soon as the batch has started. */
        log_call(call, code, text);
        call_metrics_note(call->method ? call->method->rpc->name : NULL, code,
                          clock_monotonic() - call->started);
        if (!call->head_sent) {
                op->op = GRPC_OP_SEND_INITIAL_METADATA;
                op++;
        }
        if (bytes) {
                call->sent = bytes;
                op->op = GRPC_OP_SEND_MESSAGE;
                op->data.send_message.send_message = bytes;
                op++;
        }
        op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        op->data.send_status_from_server.status = (grpc_status_code)code;
        op->data.send_status_from_server.status_details = &details;
        op++;
        start_batch(call, ops, (size_t)(op - ops), &call->answered);
        grpc_slice_unref(details);
}

/* The message as bytes for the wire, a new reference in *bytes. */
static int pack(struct rpc_call *call, const ProtobufCMessage *message, grpc_byte_buffer **bytes,
                struct error *err)
{
        const ProtobufCMessage *clean = utf8_clean_message(call->rpc.arena, message);
        size_t size = protobuf_c_message_get_packed_size(clean);

        if (size > call->set->message_max)
                return error_set(
                        err, ERROR_RESOURCE_EXHAUSTED,
                        "%s: the reply's %zu bytes are more than the %zu that a message may "
                        "have: ask for less with a filter, or use the Stream call",
                        call->rpc.method, size, call->set->message_max);

        grpc_slice slice = grpc_slice_malloc(size);
        protobuf_c_message_pack(clean, GRPC_SLICE_START_PTR(slice));
        *bytes = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        return 0;
}

bool rpc_cancelled(const struct rpc *rpc)
{
        return rpc->call && atomic_load(&rpc->call->cancelled);
}

static void write_ended(void *argument)
{
        struct rpc_call *call = argument;

        call->writing = false;
        event_signal(&call->write_ended);
        loop_unref(call);
}

static void written(void *owner, bool ok)
{
        struct rpc_call *call = owner;

        call->write_ok = ok; /* the task looks at it after write_ended only */
        post(call, write_ended);
        call_unref(call, 1);
}

int rpc_send(struct rpc *rpc, const void *message, struct error *err)
{
        struct rpc_call *call = rpc->call;
        grpc_byte_buffer *bytes;
        grpc_op ops[OPERATIONS_MAX] = {0}, *op = ops;

        if (!call || !call->method->rpc->streaming)
                return error_set(err, ERROR_INTERNAL, "%s: no stream to send to", rpc->method);
        if (rpc_cancelled(rpc))
                return error_set(err, ERROR_CANCELLED, "%s: the client has gone away", rpc->method);
        int result = pack(call, message, &bytes, err);
        if (result < 0)
                return result;

        if (!call->head_sent) {
                op->op = GRPC_OP_SEND_INITIAL_METADATA;
                op++;
                call->head_sent = true;
        }
        op->op = GRPC_OP_SEND_MESSAGE;
        op->data.send_message.send_message = bytes;
        op++;
        call->writing = true;
        start_batch(call, ops, (size_t)(op - ops), &call->written);
        /* A client that does not read holds up this task alone, and when it goes away the write
         * ends: nothing to interrupt. */
        bool interruptible = task_set_interruptible(false);
        while (call->writing)
                task_wait(&call->write_ended, CLOCK_NEVER);
        task_set_interruptible(interruptible);
        grpc_byte_buffer_destroy(bytes);
        if (!call->write_ok)
                return error_set(err, ERROR_CANCELLED, "%s: the client has gone away", rpc->method);
        return 0;
}

/* ---- the loop's thread ---- */

static void run(void *argument)
{
        struct rpc_call *call = argument;
        const struct rpc_method *method = call->method->rpc;
        ProtobufCMessage *response = dispatch_response(call->method, call->rpc.arena);
        struct error err = {0};
        grpc_byte_buffer *bytes = NULL;

        int result = method->handler(&call->rpc, call->request, response, &err);
        if (result == 0 && !method->streaming)
                result = pack(call, response, &bytes, &err);
        if (result < 0 && err.code == ERROR_OK)
                error_errno(&err, result, "%s", method->name);
        call->task = NULL;
        answer(call, bytes, result < 0 ? &err : NULL);
        loop_unref(call);
}

static void start(void *argument)
{
        struct rpc_call *call = argument;
        const struct rpc_method *method = call->method->rpc;

        call->task = task_start(method->name, run, call);
        /* When the end of the call came first, its message found no task. */
        if (method->interruptible && rpc_cancelled(&call->rpc))
                task_interrupt(call->task);
        /* The reference goes to the task. */
}

static void interrupt(void *argument)
{
        struct rpc_call *call = argument;

        if (call->task)
                task_interrupt(call->task);
        loop_unref(call);
}

/* ---- the server's thread ---- */

void call_operation_end(struct call_set *set, struct call_operation *operation, bool ok)
{
        (void)atomic_load_explicit(&set->handed_over, memory_order_acquire);
        operation->done(operation->owner, ok);
}

static void answered(void *owner, bool ok)
{
        (void)ok; /* a client that has gone away needs no answer */
        call_unref(owner, 1);
}

static void closed(void *owner, bool ok)
{
        struct rpc_call *call = owner;

        if (!ok || call->closed_early) {
                atomic_store(&call->cancelled, true);
                if (call->method && call->method->rpc->interruptible)
                        post(call, interrupt);
        }
        call_unref(call, 1);
}

static int decode(struct rpc_call *call, struct error *err)
{
        grpc_byte_buffer_reader reader;

        if (!call->received)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: the request has no message",
                                 call->rpc.method);
        if (!grpc_byte_buffer_reader_init(&reader, call->received))
                return error_set(err, ERROR_INTERNAL, "%s: the request cannot be unpacked",
                                 call->rpc.method);
        grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        int result = dispatch_decode(call->method, call->rpc.arena, GRPC_SLICE_START_PTR(bytes),
                                     GRPC_SLICE_LENGTH(bytes),
                                     call->set->message_max * DECODED_FACTOR, &call->request, err);
        grpc_slice_unref(bytes);
        /* A waiting call keeps what was decoded alone. */
        grpc_byte_buffer_destroy(call->received);
        call->received = NULL;
        return result;
}

static void received_message(void *owner, bool ok)
{
        struct rpc_call *call = owner;
        struct error err;

        if (!ok) {
                /* The client went away, or sent more than the bound and gRPC has answered: there is
                 * nobody to tell. */
                log_call(call, ERROR_CANCELLED, "no request came");
        } else if (decode(call, &err) < 0) {
                answer(call, NULL, &err);
        } else {
                post(call, start);
        }
        call_unref(call, 1);
}

/* Monotonic ns of gRPC's deadline. */
static int64_t deadline_of(gpr_timespec deadline)
{
        if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0)
                return CLOCK_NEVER;
        gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
        if (left.tv_sec > INT32_MAX)
                return CLOCK_NEVER;
        return clock_after(left.tv_sec * NSEC_PER_SEC + left.tv_nsec);
}

/* Reads the call's head. An error is what to answer at once. */
static int read_head(struct rpc_call *call, unsigned count, struct error *err)
{
        struct arena *arena = call->rpc.arena;
        const char *path =
                arena_strndup(arena, (const char *)GRPC_SLICE_START_PTR(call->details.method),
                              GRPC_SLICE_LENGTH(call->details.method));

        call->rpc.method = path;
        call->rpc.deadline = deadline_of(call->details.deadline);
        if (count > call->set->calls_max)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "%s: %u calls are under way already", path, call->set->calls_max);
        const struct dispatch_method *method = dispatch_find(call->set->dispatch, path, err);
        if (!method)
                return -ENOSYS;
        call->method = method;
        call->rpc.method = method->rpc->name;
        return 0;
}

static void requested(void *owner, bool ok)
{
        struct rpc_call *call = owner;
        struct call_set *set = call->set;

        if (!ok) { /* the server is shutting down */
                call_unref(call, 1);
                return;
        }
        call_request(set);

        call->started = clock_monotonic();
        call->rpc.arena = arena_new();
        call->rpc.call = call;
        pthread_mutex_lock(&set->lock);
        unsigned count = set->count - 1; /* without the one that waits for its client */
        uint64_t id = ++set->last_id;
        pthread_mutex_unlock(&set->lock);
        call->rpc.id = arena_printf(call->rpc.arena, "%" PRIu64, id);

        struct error err;
        int result = read_head(call, count, &err);
        grpc_op close = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                         .data.recv_close_on_server.cancelled = &call->closed_early};
        start_batch(call, &close, 1, &call->closed);
        if (result < 0) {
                answer(call, NULL, &err);
        } else {
                grpc_op receive = {.op = GRPC_OP_RECV_MESSAGE,
                                   .data.recv_message.recv_message = &call->received};
                start_batch(call, &receive, 1, &call->received_message);
        }
        call_unref(call, 1);
}

void call_request(struct call_set *set)
{
        struct rpc_call *call = xcalloc(1, sizeof *call);

        call->set = set;
        call->requested = (struct call_operation){requested, call};
        call->received_message = (struct call_operation){received_message, call};
        call->closed = (struct call_operation){closed, call};
        call->written = (struct call_operation){written, call};
        call->answered = (struct call_operation){answered, call};
        grpc_call_details_init(&call->details);
        grpc_metadata_array_init(&call->metadata);
        atomic_store_explicit(&call->references, 2,
                              memory_order_release); /* the request's, and ours until it is made */

        pthread_mutex_lock(&set->lock);
        call->next = set->first;
        if (call->next)
                call->next->previous = call;
        set->first = call;
        set->count++;
        pthread_mutex_unlock(&set->lock);

        atomic_fetch_add_explicit(&set->handed_over, 1, memory_order_release);
        grpc_call_error result =
                grpc_server_request_call(set->server, &call->grpc, &call->details, &call->metadata,
                                         set->queue, set->queue, &call->requested);
        assert(result == GRPC_CALL_OK);
        (void)result;
        call_unref(call, 1);
}

/* ---- the end ---- */

int call_set_drain(struct call_set *set, int64_t deadline)
{
        pthread_mutex_lock(&set->lock);
        set->notify = true;
        if (set->count == 0)
                set->drained = true;
        pthread_mutex_unlock(&set->lock);
        while (!set->drained) {
                int result = task_wait(&set->drained_event, deadline);
                if (result < 0 && !set->drained)
                        return result;
        }
        return 0;
}

static void abandon(struct call_set *set)
{
        struct rpc_call *abandoned = NULL;

        pthread_mutex_lock(&set->lock);
        set->closing = true;
        for (struct rpc_call *call = set->first; call; call = call->next) {
                if (!call->loop_references)
                        continue;
                call->next_abandoned = abandoned;
                abandoned = call;
        }
        pthread_mutex_unlock(&set->lock);
        while (abandoned) {
                struct rpc_call *next = abandoned->next_abandoned;
                call_unref(abandoned, abandoned->loop_references);
                abandoned = next;
        }
}

int call_set_end(struct call_set *set, int64_t deadline)
{
        struct timespec until = {.tv_sec = deadline / NSEC_PER_SEC,
                                 .tv_nsec = deadline % NSEC_PER_SEC};
        int result = 0;

        abandon(set);
        pthread_mutex_lock(&set->lock);
        while ((set->count || !set->server_gone) && !result)
                result = pthread_cond_timedwait(&set->ended, &set->lock, &until);
        pthread_mutex_unlock(&set->lock);
        return -result;
}

void call_set_server_gone(struct call_set *set)
{
        pthread_mutex_lock(&set->lock);
        set->server_gone = true;
        pthread_cond_signal(&set->ended);
        pthread_mutex_unlock(&set->lock);
}

void call_set_init(struct call_set *set)
{
        pthread_mutex_init(&set->lock, NULL);
        pthread_cond_init(&set->ended, NULL);
}

void call_set_fini(struct call_set *set)
{
        pthread_cond_destroy(&set->ended);
        pthread_mutex_destroy(&set->lock);
}
