/* Any bytes as a WebSocket client's, plain and as base64; whole and byte by byte they mean the
 * same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cri/stream/channels.h"
#include "cri/stream/queue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void got(void *log, uint32_t channel, const void *bytes, size_t length)
{
        assert(length && channel <= 255);
        for (size_t i = 0; i < length; i++) {
                const char pair[2] = {(char)channel, ((const char *)bytes)[i]};
                queue_add(log, pair, sizeof pair);
        }
}

static void finished(void *log, uint32_t channel)
{
        const char pair[2] = {'E', (char)channel};
        queue_add(log, pair, sizeof pair);
}

static void output(void *log, const void *bytes, size_t length)
{
        (void)log;
        (void)bytes;
        (void)length;
}

static int take(const uint8_t *data, size_t size, size_t step, bool base64, struct queue *log)
{
        static const struct channels_events events = {got, finished, output};
        struct channels *channels = channels_new(&events, log, base64, !base64);
        struct error err = {0};
        int result = 0;
        for (size_t at = 0; at < size && result == 0; at += step)
                result = channels_receive(channels, data + at, size - at < step ? size - at : step,
                                          &err);
        assert(result == 0 || err.message[0]);
        channels_free(channels);
        return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        for (int base64 = 0; base64 < 2; base64++) {
                struct queue whole = {0}, pieces = {0};
                int first = take(data, size, size ? size : 1, base64, &whole);
                int second = take(data, size, 1, base64, &pieces);
                /* wslay looks at the words of a goodbye only as far as they come in one piece: one
                 * of the two may be refused. */
                if (first == 0 && second == 0)
                        assert(whole.length == pieces.length &&
                               (!whole.length || memcmp(queue_front(&whole), queue_front(&pieces),
                                                        whole.length) == 0));
                queue_fini(&whole);
                queue_fini(&pieces);
        }
        return 0;
}
