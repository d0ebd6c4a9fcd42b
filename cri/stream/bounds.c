#include "cri/stream/bounds.h"

#include <stdatomic.h>

static const char *const names[STREAM_BOUNDS] = {
        [BOUND_OFFERS] = "offers",
        [BOUND_SESSIONS] = "sessions",
        [BOUND_REQUEST_TIME] = "request_time",
        [BOUND_REQUEST_SIZE] = "request_size",
        [BOUND_STREAMS] = "streams",
        [BOUND_HEADERS] = "headers",
        [BOUND_CONTROL_FRAME] = "control_frame",
        [BOUND_WINDOW] = "window",
        [BOUND_STREAMS_TIME] = "streams_time",
        [BOUND_IDLE_TIME] = "idle_time",
        [BOUND_GOODBYE_TIME] = "goodbye_time",
        [BOUND_CERTIFICATE_TIME] = "certificate_time",
        [BOUND_ATTACH_CLIENTS] = "attach_clients",
        [BOUND_ATTACH_PATIENCE] = "attach_patience",
};

static atomic_ulong reached[STREAM_BOUNDS];

void bound_reached(enum stream_bound bound)
{
        atomic_fetch_add(&reached[bound], 1);
}

void bounds_write(struct buffer *text)
{
        buffer_printf(text, "# HELP crisp_streaming_bounds_total How often a bound of exec, attach "
                            "and port-forward was reached.\n"
                            "# TYPE crisp_streaming_bounds_total counter\n");
        for (int i = 0; i < STREAM_BOUNDS; i++)
                buffer_printf(text, "crisp_streaming_bounds_total{bound=\"%s\"} %lu\n", names[i],
                              atomic_load(&reached[i]));
}
