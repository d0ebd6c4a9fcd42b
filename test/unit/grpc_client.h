/* A client of a server on a unix socket, with gRPC's own calls, for the thread that runs the tests. */
#ifndef CRISP_TEST_GRPC_CLIENT_H
#define CRISP_TEST_GRPC_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <protobuf-c/protobuf-c.h>

#include "base/memory.h"

static grpc_channel *channel;
static grpc_completion_queue *queue;

struct client_call {
        grpc_call *call;
        grpc_metadata_array head, tail;
        grpc_byte_buffer *reply;
        grpc_status_code status;
        grpc_slice details;
};

static inline void client_start(const char *socket_path)
{
        AUTO_FREE char *address = xprintf("unix:%s", socket_path);
        grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
        grpc_arg settings[] = {{.type = GRPC_ARG_INTEGER,
                                .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                                .value.integer = -1},
                               /* No connection that an earlier client left. */
                               {.type = GRPC_ARG_INTEGER,
                                .key = (char *)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
                                .value.integer = 1}};
        grpc_channel_args args = {sizeof settings / sizeof *settings, settings};

        channel = grpc_channel_create(address, credentials, &args);
        grpc_channel_credentials_release(credentials);
        queue = grpc_completion_queue_create_for_next(NULL);
}

static inline void client_stop(void)
{
        grpc_channel_destroy(channel);
        grpc_completion_queue_shutdown(queue);
        while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
               GRPC_QUEUE_SHUTDOWN)
                ;
        grpc_completion_queue_destroy(queue);
}

/* The next event, with the tag that it must have unless that is null. */
static inline void *client_next(const void *tag)
{
        grpc_event event =
                grpc_completion_queue_next(queue, gpr_time_from_seconds(60, GPR_TIMESPAN), NULL);

        assert_int_equal(event.type, GRPC_OP_COMPLETE);
        if (tag)
                assert_ptr_equal(event.tag, tag);
        return event.tag;
}

static inline void open_call(struct client_call *call, const char *method, int64_t timeout)
{
        gpr_timespec deadline = timeout < 0
                                        ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
                                        : gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                                       gpr_time_from_nanos(timeout, GPR_TIMESPAN));
        grpc_slice path = grpc_slice_from_copied_string(method);

        memset(call, 0, sizeof *call);
        grpc_metadata_array_init(&call->head);
        grpc_metadata_array_init(&call->tail);
        call->details = grpc_empty_slice();
        call->call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, path,
                                              NULL, deadline, NULL);
        grpc_slice_unref(path);
}

/* Sends everything and asks for everything; the batch's tag is call. No message where bytes is
 * null. */
static inline void begin(struct client_call *call, const char *method, const void *bytes, size_t length,
                  int64_t timeout, bool streaming)
{
        grpc_op ops[6] = {0}, *op = ops;
        grpc_byte_buffer *message = NULL;

        open_call(call, method, timeout);
        (op++)->op = GRPC_OP_SEND_INITIAL_METADATA;
        if (bytes) {
                grpc_slice slice = grpc_slice_from_copied_buffer(bytes, length);
                message = grpc_raw_byte_buffer_create(&slice, 1);
                grpc_slice_unref(slice);
                op->op = GRPC_OP_SEND_MESSAGE;
                (op++)->data.send_message.send_message = message;
        }
        (op++)->op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        op->op = GRPC_OP_RECV_INITIAL_METADATA;
        (op++)->data.recv_initial_metadata.recv_initial_metadata = &call->head;
        if (!streaming) {
                op->op = GRPC_OP_RECV_MESSAGE;
                (op++)->data.recv_message.recv_message = &call->reply;
                op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
                op->data.recv_status_on_client.trailing_metadata = &call->tail;
                op->data.recv_status_on_client.status = &call->status;
                (op++)->data.recv_status_on_client.status_details = &call->details;
        }
        assert_int_equal(grpc_call_start_batch(call->call, ops, (size_t)(op - ops), call, NULL),
                         GRPC_CALL_OK);
        grpc_byte_buffer_destroy(message);
}

static inline char *details(const struct client_call *call)
{
        return xstrndup((const char *)GRPC_SLICE_START_PTR(call->details),
                        GRPC_SLICE_LENGTH(call->details));
}

static inline void end(struct client_call *call)
{
        grpc_call_unref(call->call);
        grpc_byte_buffer_destroy(call->reply);
        grpc_metadata_array_destroy(&call->head);
        grpc_metadata_array_destroy(&call->tail);
        grpc_slice_unref(call->details);
}

/* One whole call; the caller ends it. */
static inline void ask(struct client_call *call, const char *method, const void *bytes, size_t length)
{
        begin(call, method, bytes, length, -1, false);
        client_next(call);
}

/* Asks for the next message of a stream into call->reply. */
static inline void next_message(struct client_call *call)
{
        grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->reply};

        grpc_byte_buffer_destroy(call->reply);
        call->reply = NULL;
        assert_int_equal(grpc_call_start_batch(call->call, &op, 1, call, NULL), GRPC_CALL_OK);
        client_next(call);
}

static inline void stream_status(struct client_call *call)
{
        grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                      .data.recv_status_on_client = {.trailing_metadata = &call->tail,
                                                     .status = &call->status,
                                                     .status_details = &call->details}};

        assert_int_equal(grpc_call_start_batch(call->call, &op, 1, call, NULL), GRPC_CALL_OK);
        client_next(call);
}

static inline void *unpack_reply(const struct client_call *call,
                          const ProtobufCMessageDescriptor *descriptor)
{
        grpc_byte_buffer_reader reader;

        assert_non_null(call->reply);
        assert_true(grpc_byte_buffer_reader_init(&reader, call->reply));
        grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        void *message = protobuf_c_message_unpack(descriptor, NULL, GRPC_SLICE_LENGTH(bytes),
                                                  GRPC_SLICE_START_PTR(bytes));
        grpc_slice_unref(bytes);
        assert_non_null(message);
        return message;
}

#endif
