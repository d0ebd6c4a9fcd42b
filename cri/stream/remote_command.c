/*
 * Exec and attach: streams for stdin, stdout, stderr, how it ended, and the terminal's size.
 *
 * A command may end before all that it started has let go of its output. What they write within
 * SESSION_LINGER_SILENCE after the last byte is still the client's, for SESSION_LINGER_MAX at most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "cri/stream/bounds.h"
#include "cri/stream/session_private.h"

#define RESIZE_TEXT_MAX 1024 /* bytes of a size that is not whole yet */
#define STATUS_VERSION  4    /* of the protocol: from here on the status is JSON */
#define RESIZE_VERSION  3    /* from here on there is a stream for sizes */

/* ---- how it ended ---- */

static json_t *cause(const char *reason, const char *message)
{
        json_t *object = json_object();
        if (reason)
                json_object_set_new(object, "reason", json_string(reason));
        json_object_set_new(object, "message", json_string(message));
        return object;
}

/* A Status of the Kubernetes API, as kubectl reads it. */
static char *status_text(const struct session *session, const char *message)
{
        AUTO_JSON json_t *status = json_object();
        bool success = !message;
        json_object_set_new(status, "metadata", json_object());
        json_object_set_new(status, "status", json_string(success ? "Success" : "Failure"));
        if (success)
                return json_text(status);
        json_t *causes = json_array();
        if (session->failure) {
                AUTO_FREE char *whole = xprintf("Internal error occurred: %s", message);
                json_object_set_new(status, "message", json_string(whole));
                json_object_set_new(status, "reason", json_string("InternalError"));
                json_array_append_new(causes, cause(NULL, message));
                json_object_set_new(status, "code", json_integer(500));
        } else {
                char code[16];
                snprintf(code, sizeof code, "%d", session->exit_code);
                json_object_set_new(status, "message", json_string(message));
                json_object_set_new(status, "reason", json_string("NonZeroExitCode"));
                json_array_append_new(causes, cause("ExitCode", code));
        }
        json_object_set_new(status, "details", json_pack("{s:o}", "causes", causes));
        return json_text(status);
}

static void tell_status(struct session *session)
{
        struct channel *channel = session_channel_of(session, CHANNEL_STATUS);
        AUTO_FREE char *message = NULL;
        if (session->failure)
                message = xprintf("error %s container: %s",
                                  session->options.kind == STREAM_ATTACH ? "attaching to"
                                                                         : "executing command in",
                                  session->failure);
        else if (session->exit_code)
                message = xprintf("command terminated with non-zero exit code: exit status %d",
                                  session->exit_code);
        if (channel && session->options.version >= STATUS_VERSION) {
                AUTO_FREE char *text = status_text(session, message);
                session_send(channel, text, strlen(text));
        } else if (channel && message) {
                session_send(channel, message, strlen(message));
        }
        session_complete(session);
}

static bool has_output(const struct session *session, bool *held_back)
{
        bool any = false;
        *held_back = false;
        for (struct channel *channel = session->channels; channel; channel = channel->next) {
                if (channel->output < 0)
                        continue;
                any = true;
                if (!session_readable(channel))
                        *held_back = true;
        }
        return any;
}

/* Whether all is said: told again at every end of an output, and at the deadline. */
static void look_for_the_end(struct session *session)
{
        bool held_back;
        if (!session->has_ended || session->state != SESSION_RUNNING)
                return;
        if (!has_output(session, &held_back)) {
                tell_status(session);
                return;
        }
        int64_t now = clock_monotonic();
        if (held_back) { /* the client reads slowly: that is no silence */
                session->deadline = now + SESSION_LINGER_SILENCE;
                return;
        }
        int64_t quiet = (session->last_output > session->ended_at ? session->last_output
                                                                  : session->ended_at) +
                        SESSION_LINGER_SILENCE;
        int64_t last = session->ended_at + SESSION_LINGER_MAX;
        session->deadline = quiet < last ? quiet : last;
        if (now >= session->deadline)
                tell_status(session);
}

static void due(struct session *session)
{
        if (!session->opened) {
                bound_reached(BOUND_STREAMS_TIME);
                session->failure = xstrdup("timed out waiting for the client to open its streams");
                tell_status(session);
                return;
        }
        look_for_the_end(session);
}

/* ---- the backend's answers ---- */

static void tell_size(struct session *session)
{
        session->size_wanted = false;
        bridge_resize(session->bridge, session->rows, session->columns);
}

static void take_end(struct session *session, enum channel_role role, int fd)
{
        struct channel *channel = session_channel_of(session, role);
        if (fd < 0)
                return;
        if (!channel) {
                /* Nobody asked for it: the command must not wait for who never reads. */
                channel = session_channel_new(session, UINT32_MAX - (uint32_t)role, role);
                channel->finished = channel->client_done = true;
        }
        if (role == CHANNEL_INPUT)
                session_set_input(channel, fd);
        else
                session_set_output(channel, fd);
}

static void opened(void *session_, const struct stream_ends *ends, const struct error *failure)
{
        struct session *session = session_;
        if (failure) {
                session->failure = xstrdup(failure->message);
                tell_status(session);
                return;
        }
        session->size_known = true;
        if (session->size_wanted)
                tell_size(session);
        take_end(session, CHANNEL_INPUT, ends->input);
        take_end(session, CHANNEL_OUTPUT, ends->output);
        take_end(session, CHANNEL_ERRORS, ends->errors);
        for (struct channel *channel = session->channels; channel; channel = channel->next)
                if ((channel->role == CHANNEL_OUTPUT || channel->role == CHANNEL_ERRORS) &&
                    channel->output < 0)
                        session_finish(channel);
                else if (channel->role == CHANNEL_INPUT && channel->input < 0)
                        session_close_input(channel); /* what comes is dropped */
}

static void ended(void *session_, int exit_code, const struct error *failure)
{
        struct session *session = session_;
        session->has_ended = true;
        session->exit_code = exit_code;
        session->ended_at = clock_monotonic();
        if (failure)
                session->failure = xstrdup(failure->message);
        look_for_the_end(session);
}

static void output_ended(struct channel *channel)
{
        session_finish(channel);
        look_for_the_end(channel->session);
}

/* ---- what the client does ---- */

static void open_backend(struct session *session)
{
        session->opened = true;
        session->deadline = CLOCK_NEVER;
        bridge_open(session->bridge);
}

static bool resizes(const struct session *session)
{
        return session->options.tty && session->options.version >= RESIZE_VERSION;
}

static void begin(struct session *session)
{
        const struct session_options *options = &session->options;
        if (session->spdy) {
                session->streams_expected = 1U + options->want_input + options->want_output +
                                            options->want_errors + resizes(session);
                session->deadline = clock_after(SESSION_STREAMS_TIME);
                return;
        }
        struct channel *first = session_channel_new(session, 3, CHANNEL_STATUS);
        session_channel_new(session, 4, CHANNEL_RESIZE);
        if (options->want_input)
                session_channel_new(session, 0, CHANNEL_INPUT);
        if (options->want_errors)
                first = session_channel_new(session, 2, CHANNEL_ERRORS);
        if (options->want_output)
                first = session_channel_new(session, 1, CHANNEL_OUTPUT);
        session_send(first, "", 0); /* tells the client that the connection stands */
        open_backend(session);
}

static struct channel *on_stream(struct session *session, uint32_t stream,
                                 const struct spdy_header *headers, size_t count)
{
        const struct session_options *options = &session->options;
        const char *type = spdy_header(headers, count, "streamtype");
        const struct {
                const char *name;
                enum channel_role role;
                bool wanted;
        } types[] = {
                {"stdin", CHANNEL_INPUT, options->want_input},
                {"stdout", CHANNEL_OUTPUT, options->want_output},
                {"stderr", CHANNEL_ERRORS, options->want_errors},
                {"error", CHANNEL_STATUS, true},
                {"resize", CHANNEL_RESIZE, resizes(session)},
        };
        for (size_t i = 0; type && i < sizeof types / sizeof *types; i++) {
                if (strcmp(types[i].name, type) != 0)
                        continue;
                if (!types[i].wanted || session_channel_of(session, types[i].role))
                        return NULL;
                struct channel *channel = session_channel_new(session, stream, types[i].role);
                if (++session->streams_there == session->streams_expected)
                        open_backend(session);
                return channel;
        }
        return NULL;
}

/* One JSON object after the other, cut anywhere. */
static void on_size(struct session *session, const void *bytes, size_t length)
{
        queue_add(&session->resize, bytes, length);
        while (session->resize.length) {
                json_error_t problem;
                json_t *size = json_loadb(queue_front(&session->resize), session->resize.length,
                                          JSON_DISABLE_EOF_CHECK, &problem);
                if (!size) {
                        if (json_error_code(&problem) != json_error_premature_end_of_input ||
                            session->resize.length > RESIZE_TEXT_MAX)
                                queue_drop(&session->resize, session->resize.length);
                        return;
                }
                queue_drop(&session->resize, (size_t)problem.position);
                json_int_t columns = json_integer_value(json_object_get(size, "Width"));
                json_int_t rows = json_integer_value(json_object_get(size, "Height"));
                json_decref(size);
                if (columns < 0 || columns > UINT16_MAX || rows < 0 || rows > UINT16_MAX)
                        continue;
                session->columns = (uint16_t)columns;
                session->rows = (uint16_t)rows;
                session->size_wanted = true;
        }
        if (session->size_wanted && session->size_known && !session->has_ended)
                tell_size(session);
}

static void data(struct channel *channel, const void *bytes, size_t length)
{
        if (channel->role == CHANNEL_RESIZE && channel->session->options.tty)
                on_size(channel->session, bytes, length);
}

/* What is queued for the command is still written, then its input is closed. */
static void client_finished(struct channel *channel, bool reset)
{
        (void)channel;
        (void)reset;
}

static void input_ended(struct channel *channel)
{
        (void)channel;
}

const struct session_logic session_remote_command = {
        .begin = begin,
        .opened = on_stream,
        .data = data,
        .client_finished = client_finished,
        .output_ended = output_ended,
        .input_ended = input_ended,
        .due = due,
        .answers = {.opened = opened, .ended = ended},
};
