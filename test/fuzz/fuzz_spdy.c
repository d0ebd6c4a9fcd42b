/* Any bytes as a SPDY client's, in pieces of a size that the first byte chooses: refused, or told
 * in an order that makes sense. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "cri/stream/spdy.h"

#define STREAMS 64 /* that are kept account of, of each 2 * STREAMS numbers */

struct peer {
        struct spdy *spdy;
        uint32_t newest;
        uint8_t finished[STREAMS];
        size_t sent;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *place(struct peer *peer, uint32_t stream)
{
        return &peer->finished[stream / 2 % STREAMS];
}

static bool opened(void *peer_, uint32_t stream, const struct spdy_header *headers, size_t count)
{
        struct peer *peer = peer_;
        assert(stream % 2 == 1 && stream > peer->newest && count <= SPDY_HEADERS_MAX);
        peer->newest = stream;
        size_t length = 0;
        for (size_t i = 0; i < count; i++) {
                length += strlen(headers[i].name) + strlen(headers[i].value);
                assert(spdy_header(headers, count, headers[i].name));
        }
        assert(length <= SPDY_HEADERS_SIZE_MAX);
        *place(peer, stream) = 0;
        return count != 3;
}

static void got(void *peer_, uint32_t stream, const void *bytes, size_t length)
{
        struct peer *peer = peer_;
        assert(length && stream <= peer->newest);
        size_t room = spdy_room(peer->spdy, stream);
        spdy_send(peer->spdy, stream, bytes, room < length ? room : length);
}

static void finished(void *peer_, uint32_t stream, bool reset)
{
        struct peer *peer = peer_;
        assert(stream <= peer->newest);
        (*place(peer, stream))++;
        if (!reset)
                spdy_finish(peer->spdy, stream);
}

static void output(void *peer, const void *bytes, size_t length)
{
        (void)bytes;
        ((struct peer *)peer)->sent += length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct spdy_events events = {opened, got, finished, output};
        struct peer peer = {0};
        struct error err = {0};
        if (!size)
                return 0;
        size_t step = data[0] ? data[0] : size;
        peer.spdy = spdy_new(&events, &peer);
        for (size_t at = 1; at < size; at += step) {
                size_t part = size - at < step ? size - at : step;
                if (spdy_receive(peer.spdy, data + at, part, &err) < 0) {
                        assert(strncmp(err.message, "SPDY: ", 6) == 0);
                        break;
                }
        }
        spdy_free(peer.spdy);
        return 0;
}
