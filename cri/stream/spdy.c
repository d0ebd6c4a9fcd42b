#include "cri/stream/spdy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "cri/stream/bounds.h"
#include "cri/stream/queue.h"
#include "cri/stream/spdy_dictionary.h"

#define VERSION        3
#define FRAME_HEAD     8 /* bytes before each frame's content */
#define CONTROL        0x80000000U
#define STREAM_MASK    0x7fffffffU
#define LENGTH_MASK    0xffffffU
#define FLAG_FIN       1
#define FLAG_ONE_WAY   2
#define DEFAULT_WINDOW (64 * 1024)          /* bytes; SPDY/3.1 section 2.6.8 */
#define WINDOW_MAX     INT64_C(0x7fffffff)  /* likewise */
#define WINDOW_STEP    (DEFAULT_WINDOW / 2) /* what was taken in before we say so */
#define SETTING_WINDOW 7                    /* SETTINGS_INITIAL_WINDOW_SIZE */
#define SETTING_SIZE   8                    /* bytes of an entry */

enum frame_type {
        SYN_STREAM = 1,
        SYN_REPLY = 2,
        RST_STREAM = 3,
        SETTINGS = 4,
        PING = 6,
        GOAWAY = 7,
        HEADERS = 8,
        WINDOW_UPDATE = 9,
};

struct stream {
        uint32_t id;
        bool peer_done, we_done;
        int64_t window;  /* bytes that we may send, where the peer keeps windows */
        size_t taken_in; /* bytes that it was not yet given back */
        struct stream *next;
};

struct spdy {
        struct spdy_events events;
        void *argument;
        z_stream inflate, deflate;
        bool asked_dictionary;
        struct stream *streams;
        size_t stream_count;
        uint32_t newest; /* stream of the peer's */
        bool gone_away;
        bool keeps_windows; /* the peer */
        int64_t initial_window, window;
        size_t taken_in;
        /* the frame that is coming in */
        unsigned char head[FRAME_HEAD];
        size_t head_length;
        struct queue control; /* a control frame's content */
        uint32_t left;        /* bytes of the frame that are still to come */
};

/* ---- streams ---- */

static struct stream *find(const struct spdy *spdy, uint32_t id)
{
        struct stream *stream = spdy->streams;
        while (stream && stream->id != id)
                stream = stream->next;
        return stream;
}

static void drop(struct spdy *spdy, uint32_t id)
{
        for (struct stream **at = &spdy->streams; *at; at = &(*at)->next) {
                struct stream *stream = *at;
                if (stream->id != id)
                        continue;
                *at = stream->next;
                free(stream);
                spdy->stream_count--;
                return;
        }
}

/* ---- sending ---- */

static void put32(unsigned char *at, uint32_t value)
{
        value = htonl(value);
        memcpy(at, &value, sizeof value);
}

static uint32_t get32(const void *at)
{
        uint32_t value;
        memcpy(&value, at, sizeof value);
        return ntohl(value);
}

static void send_control(struct spdy *spdy, enum frame_type type, const void *content,
                         size_t length)
{
        unsigned char head[FRAME_HEAD];
        put32(head, CONTROL | VERSION << 16 | (uint32_t)type);
        put32(head + 4, (uint32_t)length);
        spdy->events.output(spdy->argument, head, sizeof head);
        spdy->events.output(spdy->argument, content, length);
}

static void send_pair(struct spdy *spdy, enum frame_type type, uint32_t first, uint32_t second)
{
        unsigned char content[8];
        put32(content, first);
        put32(content + 4, second);
        send_control(spdy, type, content, sizeof content);
}

static void send_data(struct spdy *spdy, uint32_t stream, const void *bytes, size_t length,
                      bool fin)
{
        unsigned char head[FRAME_HEAD];
        put32(head, stream);
        put32(head + 4, (fin ? (uint32_t)FLAG_FIN << 24 : 0) | (uint32_t)length);
        spdy->events.output(spdy->argument, head, sizeof head);
        if (length)
                spdy->events.output(spdy->argument, bytes, length);
}

/* Without headers; they are compressed all the same. */
static void send_reply(struct spdy *spdy, uint32_t stream)
{
        static unsigned char none[4]; /* a count of zero; zlib wants it writable */
        unsigned char content[4 + 64];
        put32(content, stream);
        spdy->deflate.next_in = none;
        spdy->deflate.avail_in = sizeof none;
        spdy->deflate.next_out = content + 4;
        spdy->deflate.avail_out = sizeof content - 4;
        deflate(&spdy->deflate, Z_SYNC_FLUSH);
        send_control(spdy, SYN_REPLY, content, sizeof content - spdy->deflate.avail_out);
}

size_t spdy_room(const struct spdy *spdy, uint32_t id)
{
        const struct stream *stream = find(spdy, id);
        if (!stream || stream->we_done)
                return 0;
        if (!spdy->keeps_windows)
                return SIZE_MAX;
        int64_t room = stream->window < spdy->window ? stream->window : spdy->window;
        return room > 0 ? (size_t)room : 0;
}

void spdy_send(struct spdy *spdy, uint32_t id, const void *bytes, size_t length)
{
        struct stream *stream = find(spdy, id);
        if (!stream || stream->we_done)
                return;
        for (const char *at = bytes; length;) {
                size_t part = length < SPDY_DATA_MAX ? length : SPDY_DATA_MAX;
                send_data(spdy, id, at, part, false);
                stream->window -= (int64_t)part;
                spdy->window -= (int64_t)part;
                at += part;
                length -= part;
        }
}

void spdy_finish(struct spdy *spdy, uint32_t id)
{
        struct stream *stream = find(spdy, id);
        if (!stream || stream->we_done)
                return;
        send_data(spdy, id, NULL, 0, true);
        stream->we_done = true;
        if (stream->peer_done)
                drop(spdy, id);
}

void spdy_reset(struct spdy *spdy, uint32_t id, enum spdy_status status)
{
        if (find(spdy, id))
                send_pair(spdy, RST_STREAM, id, status);
        drop(spdy, id);
}

void spdy_go_away(struct spdy *spdy)
{
        send_pair(spdy, GOAWAY, spdy->newest, 0);
        spdy->gone_away = true;
}

/* ---- headers ---- */

const char *spdy_header(const struct spdy_header *headers, size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++)
                if (strcmp(headers[i].name, name) == 0)
                        return headers[i].value;
        return NULL;
}

static int broken(struct error *err, const char *what)
{
        return error_set(err, ERROR_INVALID_ARGUMENT, "SPDY: %s", what);
}

static int beyond(struct error *err, enum stream_bound bound, const char *what)
{
        bound_reached(bound);
        return broken(err, what);
}

/* The block, with a zero byte after it; *length without that. */
static int inflate_headers(struct spdy *spdy, const unsigned char *bytes, size_t length,
                           unsigned char *block, size_t *block_length, struct error *err)
{
        z_stream *z = &spdy->inflate;
        z->next_in = (unsigned char *)bytes;
        z->avail_in = (uInt)length;
        z->next_out = block;
        z->avail_out = SPDY_HEADERS_SIZE_MAX;
        while (z->avail_in) {
                int result = inflate(z, Z_SYNC_FLUSH);
                if (result == Z_NEED_DICT && !spdy->asked_dictionary) {
                        spdy->asked_dictionary = true;
                        result = inflateSetDictionary(z, spdy_dictionary(), SPDY_DICTIONARY_SIZE);
                }
                if (z->avail_out == 0 && z->avail_in)
                        return beyond(err, BOUND_HEADERS, "headers of more than 16 KiB");
                if (result != Z_OK && !(result == Z_BUF_ERROR && z->avail_in == 0))
                        return broken(err, "headers that cannot be inflated");
        }
        *block_length = SPDY_HEADERS_SIZE_MAX - z->avail_out;
        block[*block_length] = '\0';
        return 0;
}

/* Cuts a length-prefixed string out of the block. Zeroes in it would end it early; a name or value
 * with them is none that we look for. */
static bool cut(unsigned char *block, size_t length, size_t *at, char **text, size_t *text_length)
{
        if (length - *at < 4)
                return false;
        size_t size = get32(block + *at);
        *at += 4;
        if (size > length - *at)
                return false;
        /* Moved over its own length, so that there is room for a zero. */
        *text = (char *)block + *at - 4;
        memmove(*text, block + *at, size);
        (*text)[size] = '\0';
        *text_length = size;
        *at += size;
        return true;
}

static int parse_headers(unsigned char *block, size_t length, struct spdy_header *headers,
                         size_t *count, struct error *err)
{
        size_t at = 4;
        if (length < 4)
                return broken(err, "a header block without a count");
        size_t wanted = get32(block);
        if (wanted > SPDY_HEADERS_MAX)
                return beyond(err, BOUND_HEADERS, "more than 64 headers");
        for (*count = 0; *count < wanted; ++*count) {
                char *name, *value;
                size_t name_length, value_length;
                if (!cut(block, length, &at, &name, &name_length) ||
                    !cut(block, length, &at, &value, &value_length))
                        return broken(err, "a header block that ends early");
                for (char *letter = name; *letter; letter++)
                        *letter = (char)tolower((unsigned char)*letter);
                headers[*count] = (struct spdy_header){name, value};
        }
        return 0;
}

/* ---- receiving ---- */

static void refuse(struct spdy *spdy, uint32_t stream, enum spdy_status status)
{
        send_pair(spdy, RST_STREAM, stream, status);
}

static void accept_stream(struct spdy *spdy, uint32_t id, unsigned flags,
                          const struct spdy_header *headers, size_t count)
{
        if (!(id & 1) || id <= spdy->newest) {
                refuse(spdy, id, SPDY_PROTOCOL_ERROR);
                return;
        }
        spdy->newest = id;
        if (spdy->stream_count >= SPDY_STREAMS_MAX)
                bound_reached(BOUND_STREAMS);
        if (spdy->gone_away || spdy->stream_count >= SPDY_STREAMS_MAX) {
                refuse(spdy, id, SPDY_REFUSED_STREAM);
                return;
        }
        struct stream *stream = xcalloc(1, sizeof *stream);
        *stream = (struct stream){.id = id,
                                  .peer_done = flags & FLAG_FIN,
                                  .we_done = flags & FLAG_ONE_WAY,
                                  .window = spdy->initial_window,
                                  .next = spdy->streams};
        spdy->streams = stream;
        spdy->stream_count++;
        /* Its reply goes first, before anything that opening it leads to. */
        send_reply(spdy, id);
        if (!spdy->events.opened(spdy->argument, id, headers, count))
                spdy_reset(spdy, id, SPDY_REFUSED_STREAM);
        else if (flags & FLAG_FIN)
                spdy->events.finished(spdy->argument, id, false);
}

static int on_syn_stream(struct spdy *spdy, unsigned flags, const unsigned char *content,
                         size_t length, struct error *err)
{
        unsigned char block[SPDY_HEADERS_SIZE_MAX + 1];
        struct spdy_header headers[SPDY_HEADERS_MAX];
        size_t block_length, count = 0;
        if (length < 10)
                return broken(err, "a SYN_STREAM that is too short");
        int result = inflate_headers(spdy, content + 10, length - 10, block, &block_length, err);
        if (result == 0)
                result = parse_headers(block, block_length, headers, &count, err);
        if (result == 0)
                accept_stream(spdy, get32(content) & STREAM_MASK, flags, headers, count);
        return result;
}

/* Nobody needs them, but the state of the compression does. */
static int on_headers(struct spdy *spdy, const unsigned char *content, size_t length,
                      struct error *err)
{
        unsigned char block[SPDY_HEADERS_SIZE_MAX + 1];
        size_t block_length;
        if (length < 4)
                return broken(err, "HEADERS that are too short");
        return inflate_headers(spdy, content + 4, length - 4, block, &block_length, err);
}

static void peer_finished(struct spdy *spdy, uint32_t id, bool reset)
{
        struct stream *stream = find(spdy, id);
        if (!stream || stream->peer_done) {
                if (stream && reset)
                        drop(spdy, id);
                return;
        }
        stream->peer_done = true;
        if (reset || stream->we_done)
                drop(spdy, id);
        spdy->events.finished(spdy->argument, id, reset);
}

static int on_settings(struct spdy *spdy, const unsigned char *content, size_t length,
                       struct error *err)
{
        if (length < 4 || (length - 4) / SETTING_SIZE != get32(content) ||
            (length - 4) % SETTING_SIZE)
                return broken(err, "SETTINGS of a wrong length");
        for (size_t at = 4; at < length; at += SETTING_SIZE) {
                uint32_t value = get32(content + at + 4);
                if ((get32(content + at) & LENGTH_MASK) != SETTING_WINDOW)
                        continue;
                if (value > WINDOW_MAX)
                        return beyond(err, BOUND_WINDOW, "a window beyond 2 GiB");
                spdy->keeps_windows = true;
                for (struct stream *stream = spdy->streams; stream; stream = stream->next)
                        stream->window += (int64_t)value - spdy->initial_window;
                spdy->initial_window = value;
        }
        return 0;
}

static int on_window_update(struct spdy *spdy, const unsigned char *content, size_t length,
                            struct error *err)
{
        if (length != 8)
                return broken(err, "a WINDOW_UPDATE of a wrong length");
        uint32_t id = get32(content) & STREAM_MASK, more = get32(content + 4) & STREAM_MASK;
        struct stream *stream = id ? find(spdy, id) : NULL;
        int64_t *window = id ? (stream ? &stream->window : NULL) : &spdy->window;
        spdy->keeps_windows = true;
        if (!window)
                return 0;
        if (*window + more > WINDOW_MAX)
                return beyond(err, BOUND_WINDOW, "a window beyond 2 GiB");
        *window += more;
        return 0;
}

static int on_control(struct spdy *spdy, uint32_t type, unsigned flags,
                      const unsigned char *content, size_t length, struct error *err)
{
        switch (type) {
        case SYN_STREAM:
                return on_syn_stream(spdy, flags, content, length, err);
        case SYN_REPLY:
        case HEADERS:
                return on_headers(spdy, content, length, err);
        case RST_STREAM:
                if (length != 8)
                        return broken(err, "a RST_STREAM of a wrong length");
                peer_finished(spdy, get32(content) & STREAM_MASK, true);
                return 0;
        case SETTINGS:
                return on_settings(spdy, content, length, err);
        case PING:
                if (length != 4)
                        return broken(err, "a PING of a wrong length");
                if (get32(content) & 1) /* the peer's own; an even one would be ours */
                        send_control(spdy, PING, content, length);
                return 0;
        case WINDOW_UPDATE:
                return on_window_update(spdy, content, length, err);
        case GOAWAY: /* it opens no more streams; those that are open go on */
        default:     /* to be ignored (section 2.2.1) */
                return 0;
        }
}

/* Gives back what was taken in. */
static void give_back(struct spdy *spdy, uint32_t id, size_t length)
{
        struct stream *stream = find(spdy, id);
        spdy->taken_in += length;
        if (spdy->taken_in >= WINDOW_STEP) {
                send_pair(spdy, WINDOW_UPDATE, 0, (uint32_t)spdy->taken_in);
                spdy->taken_in = 0;
        }
        if (!stream || stream->peer_done)
                return;
        stream->taken_in += length;
        if (stream->taken_in >= WINDOW_STEP) {
                send_pair(spdy, WINDOW_UPDATE, id, (uint32_t)stream->taken_in);
                stream->taken_in = 0;
        }
}

static void on_data(struct spdy *spdy, uint32_t id, const void *bytes, size_t length)
{
        struct stream *stream = find(spdy, id);
        if (stream && !stream->peer_done)
                spdy->events.data(spdy->argument, id, bytes, length);
        give_back(spdy, id, length);
}

/* The frame's head is there. */
static int begin_frame(struct spdy *spdy, struct error *err)
{
        uint32_t first = get32(spdy->head);
        spdy->left = get32(spdy->head + 4) & LENGTH_MASK;
        if (!(first & CONTROL))
                return 0;
        if ((first >> 16 & 0x7fff) != VERSION)
                return broken(err, "a frame of another version than 3");
        if (spdy->left > SPDY_CONTROL_FRAME_MAX)
                return beyond(err, BOUND_CONTROL_FRAME, "a control frame of more than 64 KiB");
        return 0;
}

static int end_frame(struct spdy *spdy, struct error *err)
{
        uint32_t first = get32(spdy->head);
        unsigned flags = spdy->head[4];
        int result = 0;
        if (first & CONTROL)
                result = on_control(spdy, first & 0xffff, flags,
                                    (const unsigned char *)queue_front(&spdy->control),
                                    spdy->control.length, err);
        else if (flags & FLAG_FIN)
                peer_finished(spdy, first & STREAM_MASK, false);
        queue_drop(&spdy->control, spdy->control.length);
        spdy->head_length = 0;
        return result;
}

int spdy_receive(struct spdy *spdy, const void *bytes, size_t length, struct error *err)
{
        const char *at = bytes;
        while (length) {
                int result = 0;
                if (spdy->head_length < FRAME_HEAD) {
                        spdy->head[spdy->head_length++] = (unsigned char)*at++;
                        length--;
                        if (spdy->head_length < FRAME_HEAD)
                                continue;
                        result = begin_frame(spdy, err);
                } else {
                        size_t part = length < spdy->left ? length : spdy->left;
                        if (spdy->head[0] & 0x80)
                                queue_add(&spdy->control, at, part);
                        else
                                on_data(spdy, get32(spdy->head) & STREAM_MASK, at, part);
                        spdy->left -= (uint32_t)part;
                        at += part;
                        length -= part;
                }
                if (result == 0 && spdy->left == 0)
                        result = end_frame(spdy, err);
                if (result < 0)
                        return result;
        }
        return 0;
}

/* ---- the whole ---- */

struct spdy *spdy_new(const struct spdy_events *events, void *argument)
{
        struct spdy *spdy = xcalloc(1, sizeof *spdy);
        spdy->events = *events;
        spdy->argument = argument;
        spdy->initial_window = spdy->window = DEFAULT_WINDOW;
        /* Small windows: what we send has no headers, and theirs are a few words. */
        if (inflateInit(&spdy->inflate) != Z_OK ||
            deflateInit2(&spdy->deflate, Z_BEST_SPEED, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY) !=
                    Z_OK)
                abort(); /* out of memory */
        deflateSetDictionary(&spdy->deflate, spdy_dictionary(), SPDY_DICTIONARY_SIZE);
        return spdy;
}

void spdy_free(struct spdy *spdy)
{
        if (!spdy)
                return;
        while (spdy->streams)
                drop(spdy, spdy->streams->id);
        inflateEnd(&spdy->inflate);
        deflateEnd(&spdy->deflate);
        queue_fini(&spdy->control);
        free(spdy);
}
