/*
 * spdy: SPDY/3.1 framing, the server's side, as Kubernetes' remote commands and port forwarding use
 * it. Source: the drafts SPDY/3 and SPDY/3.1 of the Chromium project.
 *
 * It holds no socket: bytes come in through spdy_receive, and leave through the output function.
 * The peer opens streams; we open none. Kubernetes' own client and server (spdystream) do no flow
 * control: nobody may wait for a WINDOW_UPDATE of theirs. So a window bounds what we send only once
 * the peer has shown that it keeps windows, by SETTINGS or WINDOW_UPDATE; what it sends is answered
 * with WINDOW_UPDATEs always. Not locked: one thread.
 */
#ifndef CRISP_CRI_STREAM_SPDY_H
#define CRISP_CRI_STREAM_SPDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SPDY_STREAMS_MAX       1024        /* open at a time in one session */
#define SPDY_CONTROL_FRAME_MAX (64 * 1024) /* bytes of a control frame's content */
#define SPDY_HEADERS_SIZE_MAX  (16 * 1024) /* bytes of a header block when inflated */
#define SPDY_HEADERS_MAX       64          /* headers of a stream */
#define SPDY_DATA_MAX          (32 * 1024) /* bytes of a data frame that we send */

enum spdy_status { SPDY_PROTOCOL_ERROR = 1, SPDY_REFUSED_STREAM = 3, SPDY_CANCEL = 5 };

struct spdy_header {
        const char *name; /* in small letters */
        const char *value;
};

struct spdy_events {
        /* The peer opened a stream. headers live during the call. False refuses it. */
        bool (*opened)(void *argument, uint32_t stream, const struct spdy_header *headers,
                       size_t count);
        void (*data)(void *argument, uint32_t stream, const void *bytes, size_t length);
        /* It will send no more on the stream (also when it resets it). */
        void (*finished)(void *argument, uint32_t stream, bool reset);
        /* To be sent, in order. */
        void (*output)(void *argument, const void *bytes, size_t length);
};

struct spdy;

struct spdy *spdy_new(const struct spdy_events *events, void *argument);
void spdy_free(struct spdy *spdy); /* null is allowed; not from within an event */

/* Takes what came, in pieces of any size. INVALID_ARGUMENT for what is not SPDY/3 or goes beyond a
 * bound: then the connection is to be closed. */
int spdy_receive(struct spdy *spdy, const void *bytes, size_t length, struct error *err);

/* How many bytes the stream may be sent just now. */
size_t spdy_room(const struct spdy *spdy, uint32_t stream);
/* Nothing goes out to a stream that is finished, reset or unknown. */
void spdy_send(struct spdy *spdy, uint32_t stream, const void *bytes, size_t length);
/* We send no more on the stream. */
void spdy_finish(struct spdy *spdy, uint32_t stream);
void spdy_reset(struct spdy *spdy, uint32_t stream, enum spdy_status status);
/* No more streams: the session is over. */
void spdy_go_away(struct spdy *spdy);

/* The value of a header, or null. */
const char *spdy_header(const struct spdy_header *headers, size_t count, const char *name);

#endif
