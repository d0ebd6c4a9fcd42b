#include "cri/stream/websocket.h"

#include <errno.h>
#include <sha1.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "base/base64.h"
#include "base/memory.h"

#define ACCEPT_GUID    "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* section 1.3 */
#define FRAME_HEAD_MAX 10 /* bytes; section 5.2, likewise all below */
#define FRAME_FIN      0x80
#define SHORT_MAX      125
#define LENGTH_IN_2    126
#define LENGTH_IN_8    127

struct websocket {
        struct websocket_events events;
        void *argument;
        wslay_event_context_ptr context;
        const char *input; /* what is being received; borrowed during websocket_receive */
        size_t input_length;
        bool in_message; /* its first piece has been told */
        bool control;    /* the frame that comes in is one */
        bool fin;
};

static ssize_t give_input(wslay_event_context_ptr context, uint8_t *buffer, size_t length,
                          int flags, void *websocket_)
{
        struct websocket *websocket = websocket_;
        (void)flags;
        if (!websocket->input_length) {
                wslay_event_set_error(context, WSLAY_ERR_WOULDBLOCK);
                return -1;
        }
        if (length > websocket->input_length)
                length = websocket->input_length;
        memcpy(buffer, websocket->input, length);
        websocket->input += length;
        websocket->input_length -= length;
        return (ssize_t)length;
}

static ssize_t take_output(wslay_event_context_ptr context, const uint8_t *bytes, size_t length,
                           int flags, void *websocket_)
{
        struct websocket *websocket = websocket_;
        (void)context;
        (void)flags;
        websocket->events.output(websocket->argument, bytes, length);
        return (ssize_t)length;
}

static void frame_began(wslay_event_context_ptr context,
                        const struct wslay_event_on_frame_recv_start_arg *frame, void *websocket_)
{
        struct websocket *websocket = websocket_;
        (void)context;
        websocket->control = wslay_is_ctrl_frame(frame->opcode);
        websocket->fin = frame->fin;
        if (!websocket->control && frame->opcode != WSLAY_CONTINUATION_FRAME)
                websocket->in_message = false;
}

static void frame_chunk(wslay_event_context_ptr context,
                        const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *websocket_)
{
        struct websocket *websocket = websocket_;
        (void)context;
        if (websocket->control || !chunk->data_length)
                return;
        bool first = !websocket->in_message;
        websocket->in_message = true;
        websocket->events.piece(websocket->argument, first, chunk->data, chunk->data_length);
}

static void frame_ended(wslay_event_context_ptr context, void *websocket_)
{
        struct websocket *websocket = websocket_;
        (void)context;
        if (!websocket->control && websocket->fin && websocket->in_message) {
                websocket->in_message = false;
                websocket->events.whole(websocket->argument);
        }
}

struct websocket *websocket_new(const struct websocket_events *events, void *argument)
{
        static const struct wslay_event_callbacks callbacks = {
                .recv_callback = give_input,
                .send_callback = take_output,
                .on_frame_recv_start_callback = frame_began,
                .on_frame_recv_chunk_callback = frame_chunk,
                .on_frame_recv_end_callback = frame_ended,
        };
        struct websocket *websocket = xcalloc(1, sizeof *websocket);
        websocket->events = *events;
        websocket->argument = argument;
        if (wslay_event_context_server_init(&websocket->context, &callbacks, websocket) != 0)
                abort(); /* out of memory */
        wslay_event_config_set_no_buffering(websocket->context, 1);
        return websocket;
}

void websocket_free(struct websocket *websocket)
{
        if (!websocket)
                return;
        wslay_event_context_free(websocket->context);
        free(websocket);
}

int websocket_receive(struct websocket *websocket, const void *bytes, size_t length,
                      struct error *err)
{
        websocket->input = bytes;
        websocket->input_length = length;
        int result = wslay_event_recv(websocket->context);
        bool closed = wslay_event_get_close_received(websocket->context);
        wslay_event_send(websocket->context); /* pongs, and the answer to a close */
        if (closed)
                return error_set(err, ERROR_CANCELLED, "WebSocket: closed by the client");
        if (result != 0 || !wslay_event_get_read_enabled(websocket->context))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "WebSocket: what came breaks its rules");
        return 0;
}

/* Section 5.2; without a mask. */
static size_t write_head(unsigned char head[FRAME_HEAD_MAX], unsigned opcode, uint64_t length)
{
        size_t more = length > UINT16_MAX ? 8 : length > SHORT_MAX ? 2 : 0;
        head[0] = (unsigned char)(FRAME_FIN | opcode);
        head[1] = (unsigned char)(more == 8 ? LENGTH_IN_8 : more == 2 ? LENGTH_IN_2 : length);
        for (size_t i = 0; i < more; i++)
                head[2 + i] = (unsigned char)(length >> (8 * (more - 1 - i)));
        return 2 + more;
}

/* Not by wslay, which would copy the message twice: what it sends itself it has always sent whole
 * when it returns, so that this comes between two frames of its. */
void websocket_send(struct websocket *websocket, bool binary, const void *first,
                    size_t first_length, const void *bytes, size_t length)
{
        unsigned char head[FRAME_HEAD_MAX];
        if (wslay_event_get_close_sent(websocket->context))
                return;
        size_t head_length = write_head(head, binary ? WSLAY_BINARY_FRAME : WSLAY_TEXT_FRAME,
                                        first_length + length);
        websocket->events.output(websocket->argument, head, head_length);
        if (first_length)
                websocket->events.output(websocket->argument, first, first_length);
        if (length)
                websocket->events.output(websocket->argument, bytes, length);
}

void websocket_close(struct websocket *websocket, unsigned code)
{
        if (wslay_event_queue_close(websocket->context, (uint16_t)code, NULL, 0) == 0)
                wslay_event_send(websocket->context);
}

void websocket_accept(const char *key, char accept[WEBSOCKET_ACCEPT_SIZE])
{
        SHA1_CTX sha;
        uint8_t digest[SHA1_DIGEST_LENGTH];
        SHA1Init(&sha);
        SHA1Update(&sha, (const uint8_t *)key, strlen(key));
        SHA1Update(&sha, (const uint8_t *)ACCEPT_GUID, strlen(ACCEPT_GUID));
        SHA1Final(digest, &sha);
        char *text = base64_encode(digest, sizeof digest);
        snprintf(accept, WEBSOCKET_ACCEPT_SIZE, "%s", text);
        free(text);
}
