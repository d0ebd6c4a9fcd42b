#include "cri/stream/channels.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/memory.h"
#include "cri/stream/queue.h"
#include "cri/stream/websocket.h"

struct channels {
        struct channels_events events;
        void *argument;
        struct websocket *websocket;
        bool base64, close_signal;
        uint32_t channel;    /* of the message that comes in */
        struct queue digits; /* of base64 that are not decoded yet */
        bool ended_padding;  /* nothing may follow in this message */
        bool broken;
};

/* Decodes what is there in whole groups of four. */
static void decode(struct channels *channels)
{
        size_t length = channels->digits.length / 4 * 4, count;
        if (!length)
                return;
        unsigned char *bytes = base64_decode(queue_front(&channels->digits), length, &count);
        if (!bytes || channels->ended_padding) {
                channels->broken = true;
        } else {
                channels->ended_padding = queue_front(&channels->digits)[length - 1] == '=';
                channels->events.data(channels->argument, channels->channel, bytes, count);
        }
        free(bytes);
        queue_drop(&channels->digits, length);
}

static void on_piece(void *channels_, bool first, const void *bytes, size_t length)
{
        struct channels *channels = channels_;
        const char *at = bytes;
        if (first) {
                channels->channel = (unsigned char)*at++;
                length--;
                if (channels->base64)
                        channels->channel = (channels->channel - '0') & 0xff;
                channels->ended_padding = false;
        }
        if (channels->close_signal && channels->channel == CHANNELS_CLOSE) {
                for (; length; at++, length--)
                        channels->events.finished(channels->argument, (unsigned char)*at);
        } else if (!channels->base64) {
                if (length)
                        channels->events.data(channels->argument, channels->channel, at, length);
        } else {
                while (length && !channels->broken) {
                        size_t part = length < CHANNELS_BASE64_MAX ? length : CHANNELS_BASE64_MAX;
                        queue_add(&channels->digits, at, part);
                        decode(channels);
                        at += part;
                        length -= part;
                }
        }
}

static void on_whole(void *channels_)
{
        struct channels *channels = channels_;
        if (channels->digits.length)
                channels->broken = true;
}

static void on_output(void *channels_, const void *bytes, size_t length)
{
        struct channels *channels = channels_;
        channels->events.output(channels->argument, bytes, length);
}

struct channels *channels_new(const struct channels_events *events, void *argument, bool base64,
                              bool close_signal)
{
        static const struct websocket_events own = {
                .piece = on_piece, .whole = on_whole, .output = on_output};
        struct channels *channels = xcalloc(1, sizeof *channels);
        channels->events = *events;
        channels->argument = argument;
        channels->base64 = base64;
        channels->close_signal = close_signal;
        channels->websocket = websocket_new(&own, channels);
        return channels;
}

void channels_free(struct channels *channels)
{
        if (!channels)
                return;
        websocket_free(channels->websocket);
        queue_fini(&channels->digits);
        free(channels);
}

int channels_receive(struct channels *channels, const void *bytes, size_t length, struct error *err)
{
        int result = websocket_receive(channels->websocket, bytes, length, err);
        if (result == 0 && channels->broken)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "WebSocket: a message that is not base64");
        return result;
}

void channels_send(struct channels *channels, uint32_t channel, const void *bytes, size_t length)
{
        const char first = (char)(channels->base64 ? '0' + channel : channel);
        if (channels->base64) {
                AUTO_FREE char *text = base64_encode(bytes, length);
                websocket_send(channels->websocket, false, &first, 1, text, strlen(text));
        } else {
                websocket_send(channels->websocket, true, &first, 1, bytes, length);
        }
}

void channels_close(struct channels *channels)
{
        websocket_close(channels->websocket, WEBSOCKET_CLOSE_NORMAL);
}
