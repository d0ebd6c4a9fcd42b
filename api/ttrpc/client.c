#include "api/ttrpc/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/ttrpc/ttrpc.pb-c.h"
#include "api/ttrpc/wire.h"
#include "base/memory.h"
#include "base/task.h"

#define STREAM_MAX 0x7fffffffu

/* One that waits: on its task's stack, or, with on_answer, on the heap. */
struct call {
        struct call *next;
        uint32_t stream;
        bool done;
        int failure; /* 0, or why there will be no answer */
        Ttrpc__Response *response;
        struct event changed;
        ttrpc_answer_function *on_answer; /* or null */
        void *argument;
        const char *method; /* with on_answer */
};

struct ttrpc_client {
        struct ttrpc_wire *wire;
        ttrpc_closed_function *on_closed;
        void *argument;
        struct call *calls;
        unsigned count;
        uint32_t stream; /* of the last call; odd */
};

static void answer(struct call *call);

static void finish(struct ttrpc_client *client, struct call **place, int failure)
{
        struct call *call = *place;
        *place = call->next;
        client->count--;
        call->done = true;
        call->failure = failure;
        if (call->on_answer)
                answer(call);
        else
                event_signal(&call->changed);
}

static void finish_all(struct ttrpc_client *client, int failure)
{
        while (client->calls)
                finish(client, &client->calls, failure);
}

static struct call **find(struct ttrpc_client *client, uint32_t stream)
{
        struct call **place = &client->calls;
        while (*place && (*place)->stream != stream)
                place = &(*place)->next;
        return place;
}

static void on_frame(void *argument, const struct ttrpc_frame *frame)
{
        struct ttrpc_client *client = argument;
        struct call **place = find(client, frame->stream);
        /* Nobody waits any more, or it is something that a later protocol has. */
        if (!*place || frame->type != TTRPC_RESPONSE)
                return;
        if (frame->payload)
                (*place)->response = ttrpc__response__unpack(NULL, frame->length, frame->payload);
        finish(client, place, (*place)->response ? 0 : frame->payload ? -EBADMSG : -EMSGSIZE);
}

static void on_end(void *argument, const char *why)
{
        struct ttrpc_client *client = argument;
        (void)why;
        finish_all(client, -EPIPE);
        if (client->on_closed)
                client->on_closed(client->argument);
}

int ttrpc_client_new(int fd, ttrpc_closed_function *on_closed, void *argument,
                     struct ttrpc_client **client, struct error *err)
{
        struct ttrpc_client *made = xcalloc(1, sizeof *made);
        made->on_closed = on_closed;
        made->argument = argument;
        made->stream = (uint32_t)-1;
        int result = ttrpc_wire_new(fd, on_frame, on_end, made, &made->wire, err);
        if (result < 0) {
                free(made);
                return result;
        }
        *client = made;
        return 0;
}

void ttrpc_client_free(struct ttrpc_client *client)
{
        if (!client)
                return;
        finish_all(client, -ECANCELED);
        ttrpc_wire_free(client->wire);
        free(client);
}

bool ttrpc_client_has_ended(const struct ttrpc_client *client)
{
        return ttrpc_wire_has_ended(client->wire);
}

/* ---- requests ---- */

static void pack_request(const char *service, const char *method, const ProtobufCMessage *message,
                         int64_t timeout, struct buffer *payload)
{
        Ttrpc__Request request = TTRPC__REQUEST__INIT;
        AUTO_BUFFER struct buffer inner = BUFFER_INIT;
        size_t size = protobuf_c_message_get_packed_size(message);
        inner.length = protobuf_c_message_pack(message, (uint8_t *)buffer_reserve(&inner, size));
        request.service = (char *)service;
        request.method = (char *)method;
        request.payload.data = (uint8_t *)inner.data;
        request.payload.len = inner.length;
        request.timeout_nano = timeout;
        size = ttrpc__request__get_packed_size(&request);
        payload->length += ttrpc__request__pack(&request, (uint8_t *)buffer_reserve(payload, size));
}

void ttrpc_request_frame(uint32_t stream, const char *service, const char *method,
                         const ProtobufCMessage *request, int64_t timeout, struct buffer *frame)
{
        AUTO_BUFFER struct buffer payload = BUFFER_INIT;
        uint8_t header[TTRPC_HEADER_LENGTH];
        pack_request(service, method, request, timeout, &payload);
        const struct ttrpc_frame head = {
                .length = (uint32_t)payload.length, .stream = stream, .type = TTRPC_REQUEST};
        ttrpc_frame_pack(&head, header);
        buffer_add(frame, header, sizeof header);
        buffer_add(frame, payload.data, payload.length);
}

static int send_request(struct ttrpc_client *client, struct call *call, const char *service,
                        const char *method, const ProtobufCMessage *request, int64_t deadline,
                        struct error *err)
{
        AUTO_BUFFER struct buffer payload = BUFFER_INIT;
        int64_t timeout = deadline == CLOCK_NEVER ? 0 : deadline - clock_monotonic();
        if (client->count >= TTRPC_CALLS_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "%s: %d calls are under way",
                                 method, TTRPC_CALLS_MAX);
        if (client->stream == STREAM_MAX)
                return error_set(err, ERROR_UNAVAILABLE,
                                 "%s: the connection has had all the calls that it can", method);
        if (deadline != CLOCK_NEVER && timeout <= 0)
                return error_set(err, ERROR_DEADLINE_EXCEEDED, "%s: not asked in time", method);
        pack_request(service, method, request, timeout, &payload);
        call->stream = client->stream += 2;
        switch (ttrpc_wire_send(client->wire, call->stream, TTRPC_REQUEST, payload.data,
                                payload.length)) {
        case 0:
                call->next = client->calls;
                client->calls = call;
                client->count++;
                return 0;
        case -EMSGSIZE:
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "%s: the request is longer than %d bytes", method,
                                 TTRPC_PAYLOAD_MAX);
        case -ENOBUFS:
                return error_set(err, ERROR_RESOURCE_EXHAUSTED, "%s: earlier requests are not read",
                                 method);
        default:
                return error_set(err, ERROR_UNAVAILABLE, "%s: the connection has ended", method);
        }
}

/* ---- answers ---- */

static int judge_status(const char *method, const Google__Rpc__Status *status, struct error *err)
{
        if (!status || status->code == 0)
                return 0;
        enum error_code code = status->code > 0 && status->code <= ERROR_UNAUTHENTICATED
                                       ? (enum error_code)status->code
                                       : ERROR_UNKNOWN;
        if (!status->message || !*status->message)
                return error_set(err, code, "%s: %s, without a word", method,
                                 error_code_name(code));
        return error_set(err, code, "%s", status->message);
}

static int judge(const char *method, const struct call *call,
                 const ProtobufCMessageDescriptor *type, ProtobufCMessage **response,
                 struct error *err)
{
        switch (call->failure) {
        case 0:
                break;
        case -EBADMSG:
                return error_set(err, ERROR_DATA_LOSS, "%s: the answer cannot be read", method);
        case -EMSGSIZE:
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "%s: the answer is longer than %d bytes", method,
                                 TTRPC_PAYLOAD_MAX);
        case -ECANCELED:
                return error_set(err, ERROR_CANCELLED, "%s: the connection was given up", method);
        default:
                return error_set(err, ERROR_UNAVAILABLE, "%s: the connection has ended", method);
        }
        int result = judge_status(method, call->response->status, err);
        if (result < 0 || !response)
                return result;
        ProtobufCMessage *message = protobuf_c_message_unpack(
                type, NULL, call->response->payload.len, call->response->payload.data);
        if (!message)
                return error_set(err, ERROR_DATA_LOSS, "%s: the answer cannot be read", method);
        *response = message;
        return 0;
}

/* Nobody waits: who asked is told, and the call has had its time. */
static void answer(struct call *call)
{
        if (call->failure != -EPIPE && call->failure != -ECANCELED) {
                struct error why;
                int result = judge(call->method, call, NULL, NULL, &why);
                call->on_answer(call->argument, result < 0 ? &why : NULL);
        }
        if (call->response)
                ttrpc__response__free_unpacked(call->response, NULL);
        free(call);
}

int ttrpc_ask(struct ttrpc_client *client, const char *service, const char *method,
              const ProtobufCMessage *request, ttrpc_answer_function *on_answer, void *argument,
              struct error *err)
{
        struct call *call = xcalloc(1, sizeof *call);
        call->on_answer = on_answer;
        call->argument = argument;
        call->method = method;
        int result = send_request(client, call, service, method, request, CLOCK_NEVER, err);
        if (result < 0)
                free(call);
        return result;
}

static void forget(struct ttrpc_client *client, const struct call *call)
{
        struct call **place = find(client, call->stream);
        if (*place == call) {
                *place = call->next;
                client->count--;
        }
}

int ttrpc_call(struct ttrpc_client *client, const char *service, const char *method,
               const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
               int64_t deadline, ProtobufCMessage **response, struct error *err)
{
        struct call call = {0};
        int result = send_request(client, &call, service, method, request, deadline, err);
        if (result < 0)
                return result;
        while (!call.done) {
                result = task_wait(&call.changed, deadline);
                /* Once it is done it is off the list, and the client may be gone. */
                if (result < 0 && !call.done) {
                        forget(client, &call);
                        return error_set(err,
                                         result == -ETIMEDOUT ? ERROR_DEADLINE_EXCEEDED
                                                              : ERROR_CANCELLED,
                                         "%s: %s", method,
                                         result == -ETIMEDOUT ? "no answer in time" : "given up");
                }
        }
        result = judge(method, &call, type, response, err);
        if (call.response)
                ttrpc__response__free_unpacked(call.response, NULL);
        return result;
}
