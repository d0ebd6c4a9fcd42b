#include "cli/client.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include "base/buffer.h"
#include "base/memory.h"

#define OPS_MAX 4

struct client {
        grpc_channel *channel;
        char *path;
};

enum batch { BATCH_SENT = 1, BATCH_MESSAGE, BATCH_STATUS }; /* tags of the queue */

struct client_call {
        const ProtobufCMethodDescriptor *method;
        const char *path; /* of the socket */
        grpc_completion_queue *queue;
        grpc_call *grpc;
        grpc_byte_buffer *request, *received;
        grpc_metadata_array head, trailer;
        grpc_status_code status;
        grpc_slice details;
        bool reading;     /* a message has been asked for: received is gRPC's */
        bool has_message; /* it is in received */
        bool no_more;     /* messages */
        bool ended;       /* status and details are set */
        unsigned pending; /* batches */
};

/* ---- the connection ---- */

/* gRPC's own words would stand between ours; what counts comes as a status. */
static void drop_line(gpr_log_func_args *line)
{
        (void)line;
}

static int not_running(struct error *err, const char *path, int number)
{
        if (number == EACCES || number == EPERM)
                return error_set(err, ERROR_PERMISSION_DENIED,
                                 "%s: %s: crisp's socket is for root and its group", path,
                                 strerror(number));
        return error_set(err, ERROR_UNAVAILABLE,
                         "crisp is not running: %s: %s. Start the daemon, or name the socket of "
                         "one with --socket",
                         path, strerror(number));
}

/* A connection by hand first: gRPC tells no reason and tries again and again. */
static int probe(const char *path, struct error *err)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return error_errno(err, errno, "make a socket");
        if (strlen(path) >= sizeof address.sun_path)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%s: the path of a socket has at most %zu bytes", path,
                                 sizeof address.sun_path - 1);
        memcpy(address.sun_path, path, strlen(path) + 1);
        /* EAGAIN: somebody listens who has much to do. */
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EAGAIN)
                return not_running(err, path, errno);
        return 0;
}

/* gRPC reads a target as a URI: what could mean something there is written as %XX. */
static char *target_of(const char *path)
{
        AUTO_BUFFER struct buffer target = BUFFER_INIT;

        buffer_add_text(&target, "unix:");
        for (const char *at = path; *at; at++)
                if (strchr("%?# ", *at))
                        buffer_printf(&target, "%%%02X", (unsigned)(unsigned char)*at);
                else
                        buffer_add(&target, at, 1);
        return buffer_take(&target);
}

int client_open(const char *path, struct client **client, struct error *err)
{
        int result = probe(path, err);

        if (result < 0)
                return result;
        gpr_set_log_function(drop_line);
        grpc_init();
        AUTO_FREE char *target = target_of(path);
        grpc_arg args[] = {
                {.type = GRPC_ARG_INTEGER,
                 .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                 .value.integer = (int)CLIENT_MESSAGE_MAX},
                {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_RETRIES},
                {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY},
        };
        grpc_channel_args channel_args = {sizeof args / sizeof *args, args};
        grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
        struct client *made = xcalloc(1, sizeof *made);
        made->path = xstrdup(path);
        made->channel = grpc_channel_create(target, credentials, &channel_args);
        grpc_channel_credentials_release(credentials);
        *client = made;
        return 0;
}

void client_close(struct client *client)
{
        if (!client)
                return;
        grpc_channel_destroy(client->channel);
        grpc_shutdown_blocking();
        free(client->path);
        free(client);
}

/* ---- a call ---- */

static void start_batch(struct client_call *call, const grpc_op *ops, size_t count,
                        enum batch batch)
{
        grpc_call_error result =
                grpc_call_start_batch(call->grpc, ops, count, (void *)(uintptr_t)batch, NULL);

        /* Only a wrong use of the interface fails here. */
        assert(result == GRPC_CALL_OK);
        (void)result;
        call->pending++;
}

static void send_request(struct client_call *call)
{
        grpc_op ops[OPS_MAX] = {
                {.op = GRPC_OP_SEND_INITIAL_METADATA},
                {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = call->request},
                {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                {.op = GRPC_OP_RECV_INITIAL_METADATA,
                 .data.recv_initial_metadata.recv_initial_metadata = &call->head},
        };

        start_batch(call, ops, OPS_MAX, BATCH_SENT);
}

static void receive_status(struct client_call *call)
{
        grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

        op.data.recv_status_on_client.trailing_metadata = &call->trailer;
        op.data.recv_status_on_client.status = &call->status;
        op.data.recv_status_on_client.status_details = &call->details;
        start_batch(call, &op, 1, BATCH_STATUS);
}

static void receive_message(struct client_call *call)
{
        grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

        op.data.recv_message.recv_message = &call->received;
        call->reading = true;
        start_batch(call, &op, 1, BATCH_MESSAGE);
}

static const ProtobufCMethodDescriptor *find_method(const ProtobufCServiceDescriptor *service,
                                                    const char *name)
{
        const ProtobufCMethodDescriptor *method =
                protobuf_c_service_descriptor_get_method_by_name(service, name);

        assert(method);
        return method;
}

static gpr_timespec grpc_time(int64_t monotonic)
{
        if (monotonic == CLOCK_NEVER)
                return gpr_inf_future(GPR_CLOCK_MONOTONIC);
        return gpr_time_from_nanos(monotonic, GPR_CLOCK_MONOTONIC);
}

struct client_call *call_start(struct client *client, const ProtobufCServiceDescriptor *service,
                               const char *method, const ProtobufCMessage *request,
                               int64_t deadline)
{
        struct client_call *call = xcalloc(1, sizeof *call);
        AUTO_FREE char *path = xprintf("/%s/%s", service->name, method);
        size_t size = protobuf_c_message_get_packed_size(request);
        grpc_slice bytes = grpc_slice_malloc(size);

        protobuf_c_message_pack(request, GRPC_SLICE_START_PTR(bytes));
        call->request = grpc_raw_byte_buffer_create(&bytes, 1);
        grpc_slice_unref(bytes);
        call->method = find_method(service, method);
        call->path = client->path;
        call->queue = grpc_completion_queue_create_for_next(NULL);
        grpc_slice name = grpc_slice_from_copied_string(path);
        call->grpc = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                              call->queue, name, NULL, grpc_time(deadline), NULL);
        grpc_slice_unref(name);
        grpc_metadata_array_init(&call->head);
        grpc_metadata_array_init(&call->trailer);
        call->details = grpc_empty_slice();
        send_request(call);
        receive_status(call);
        return call;
}

/* The bytes that came as a message; null where they are none. */
static ProtobufCMessage *decode(struct client_call *call)
{
        grpc_byte_buffer_reader reader;

        if (!grpc_byte_buffer_reader_init(&reader, call->received))
                return NULL;
        grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
        size_t length = GRPC_SLICE_LENGTH(bytes);
        /* No bytes are a message too; a null pointer would be undefined. */
        ProtobufCMessage *message = protobuf_c_message_unpack(call->method->output, NULL, length,
                                                              length ? GRPC_SLICE_START_PTR(bytes)
                                                                     : (const uint8_t *)"");
        grpc_slice_unref(bytes);
        grpc_byte_buffer_reader_destroy(&reader);
        return message;
}

/* How the call ended: 0, or its error. */
static int outcome(const struct client_call *call, struct error *err)
{
        if (call->status == GRPC_STATUS_OK)
                return 0;
        char text[ERROR_MESSAGE_MAX];
        size_t length = GRPC_SLICE_LENGTH(call->details);
        if (length >= sizeof text)
                length = sizeof text - 1;
        memcpy(text, GRPC_SLICE_START_PTR(call->details), length);
        text[length] = '\0';
        if (call->status == GRPC_STATUS_UNAVAILABLE)
                return error_set(err, ERROR_UNAVAILABLE,
                                 "the connection to crisp at %s was lost: %s", call->path, text);
        if (call->status == GRPC_STATUS_UNIMPLEMENTED)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "the daemon at %s is older than this command, or no crisp: %s",
                                 call->path, text);
        return error_set(err, (enum error_code)call->status, "%s",
                         text[0] ? text : error_code_name((enum error_code)call->status));
}

/* Takes one event of the queue; false when the time has come. */
static bool take_event(struct client_call *call, int64_t until)
{
        grpc_event event = grpc_completion_queue_next(call->queue, grpc_time(until), NULL);

        if (event.type != GRPC_OP_COMPLETE)
                return false;
        call->pending--;
        switch ((enum batch)(uintptr_t)event.tag) {
        case BATCH_SENT:
                break; /* a failure is the status' to tell */
        case BATCH_MESSAGE:
                call->reading = false;
                call->has_message = call->received;
                call->no_more = !call->received;
                break;
        case BATCH_STATUS:
                call->ended = true;
                break;
        }
        return true;
}

int call_next(struct client_call *call, int64_t until, ProtobufCMessage **message,
              struct error *err)
{
        while (!call->has_message && !(call->no_more && call->ended)) {
                if (!call->reading && !call->no_more)
                        receive_message(call);
                if (!take_event(call, until))
                        return -EAGAIN;
        }
        if (!call->has_message)
                return outcome(call, err);
        *message = decode(call);
        grpc_byte_buffer_destroy(call->received);
        call->received = NULL;
        call->has_message = false;
        if (!*message)
                return error_set(err, ERROR_INTERNAL, "%s: what crisp answered is no %s",
                                 call->method->name, call->method->output->name);
        return 1;
}

void call_free(struct client_call *call)
{
        if (!call)
                return;
        if (!call->ended)
                grpc_call_cancel(call->grpc, NULL);
        while (call->pending)
                take_event(call, CLOCK_NEVER);
        grpc_completion_queue_shutdown(call->queue);
        while (grpc_completion_queue_next(call->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL)
                       .type != GRPC_QUEUE_SHUTDOWN)
                continue;
        grpc_call_unref(call->grpc);
        grpc_completion_queue_destroy(call->queue);
        grpc_byte_buffer_destroy(call->request);
        grpc_byte_buffer_destroy(call->received);
        grpc_metadata_array_destroy(&call->head);
        grpc_metadata_array_destroy(&call->trailer);
        grpc_slice_unref(call->details);
        free(call);
}

int client_ask(struct client *client, const ProtobufCServiceDescriptor *service, const char *method,
               const ProtobufCMessage *request, int64_t deadline, ProtobufCMessage **response,
               struct error *err)
{
        AUTO_CALL struct client_call *call = call_start(client, service, method, request, deadline);
        int result = call_next(call, CLOCK_NEVER, response, err);

        if (result == 0)
                return error_set(err, ERROR_INTERNAL, "%s: crisp gave no answer", method);
        return result < 0 ? result : 0;
}

void message_free(ProtobufCMessage *message)
{
        if (message)
                protobuf_c_message_free_unpacked(message, NULL);
}

int client_gather(struct client *client, const ProtobufCServiceDescriptor *service,
                  const char *method, const ProtobufCMessage *request, int64_t deadline,
                  struct messages *messages, struct error *err)
{
        AUTO_CALL struct client_call *call = call_start(client, service, method, request, deadline);
        ProtobufCMessage *message = NULL;
        int result;

        while ((result = call_next(call, CLOCK_NEVER, &message, err)) > 0) {
                messages->list =
                        xrealloc(messages->list, (messages->count + 1) * sizeof *messages->list);
                messages->list[messages->count++] = message;
        }
        return result;
}

void messages_free(struct messages *messages)
{
        for (size_t i = 0; i < messages->count; i++)
                message_free(messages->list[i]);
        free(messages->list);
}
