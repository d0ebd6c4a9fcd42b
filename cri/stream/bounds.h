/*
 * bounds: how often each bound of the streaming server was reached. Any thread.
 */
#ifndef CRISP_CRI_STREAM_BOUNDS_H
#define CRISP_CRI_STREAM_BOUNDS_H

#include "base/buffer.h"

enum stream_bound {
        BOUND_OFFERS,           /* STREAM_OFFERS_MAX */
        BOUND_SESSIONS,         /* streaming.max_sessions */
        BOUND_REQUEST_TIME,     /* STREAM_REQUEST_TIME */
        BOUND_REQUEST_SIZE,     /* STREAM_REQUEST_MAX, or a request that is none */
        BOUND_STREAMS,          /* SPDY_STREAMS_MAX */
        BOUND_HEADERS,          /* SPDY_HEADERS_SIZE_MAX, SPDY_HEADERS_MAX */
        BOUND_CONTROL_FRAME,    /* SPDY_CONTROL_FRAME_MAX */
        BOUND_WINDOW,           /* the largest that SPDY has */
        BOUND_STREAMS_TIME,     /* SESSION_STREAMS_TIME */
        BOUND_IDLE_TIME,        /* streaming.idle_timeout */
        BOUND_GOODBYE_TIME,     /* SESSION_GOODBYE_TIME, RELAY_GOODBYE_TIME */
        BOUND_CERTIFICATE_TIME, /* RELAY_LOOK_TIME */
        BOUND_ATTACH_CLIENTS,   /* MONITOR_ATTACH_MAX */
        BOUND_ATTACH_PATIENCE,  /* of a monitor with a client that takes nothing */
        STREAM_BOUNDS,
};

void bound_reached(enum stream_bound bound);
/* As samples for Prometheus. */
void bounds_write(struct buffer *text);

#endif
