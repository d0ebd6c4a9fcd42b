/*
 * channels: numbered channels in the messages of a WebSocket, as Kubernetes has them
 * (channel.k8s.io): the first byte of each message is its channel's number, or, where messages are
 * base64, its digit.
 *
 * From v5.channel.k8s.io on a message of 255 and a channel's number says that the client is done
 * with that channel. Not locked: one thread.
 */
#ifndef CRISP_CRI_STREAM_CHANNELS_H
#define CRISP_CRI_STREAM_CHANNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define CHANNELS_CLOSE      255
#define CHANNELS_BASE64_MAX (64 * 1024) /* characters of a message that are decoded at a time */

struct channels_events {
        void (*data)(void *argument, uint32_t channel, const void *bytes, size_t length);
        /* The client sends no more on the channel. */
        void (*finished)(void *argument, uint32_t channel);
        void (*output)(void *argument, const void *bytes, size_t length);
};

struct channels;

/* close_signal: as from v5 on. */
struct channels *channels_new(const struct channels_events *events, void *argument, bool base64,
                              bool close_signal);
void channels_free(struct channels *channels); /* null is allowed; not from within an event */

/* As websocket_receive. A message that is not base64 where it has to be ends the connection. */
int channels_receive(struct channels *channels, const void *bytes, size_t length,
                     struct error *err);
void channels_send(struct channels *channels, uint32_t channel, const void *bytes, size_t length);
/* Says goodbye. */
void channels_close(struct channels *channels);

#endif
