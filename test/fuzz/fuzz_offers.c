/* Any bytes as the path of a streaming request, where "T" stands for the tokens of the three offers
 * that wait: only the path that an offer was given takes it. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "cri/stream/offers.h"
#include "cri/stream/queue.h"

#define KINDS 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_close(void *session)
{
        (void)session;
}

static const struct stream_backend backend = {.close = on_close};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct offers *offers = offers_new(INT64_C(3600000000000));
        char paths[KINDS][OFFERS_PATH_SIZE];
        struct queue asked = {0};
        struct session_options options = {0};
        struct bridge *bridge;
        for (int i = 0; i < KINDS; i++) {
                options.kind = (enum stream_kind)i;
                bridge = bridge_new(NULL, &backend, paths);
                assert(offers_add(offers, bridge, &options, paths[i], NULL) == 0);
        }
        for (size_t i = 0; i < size; i++) {
                if (data[i] == 'T')
                        queue_add(&asked, strrchr(paths[i % KINDS], '/') + 1, OFFERS_TOKEN_LENGTH);
                else
                        queue_add(&asked, data + i, 1);
        }
        queue_add(&asked, "", 1);
        int expected = -1;
        for (int i = 0; i < KINDS; i++)
                if (strcmp(queue_front(&asked), paths[i]) == 0)
                        expected = i;
        bool taken = offers_take(offers, queue_front(&asked), &bridge, &options);
        assert(taken == (expected >= 0));
        if (taken) {
                assert(options.kind == (enum stream_kind)expected);
                bridge_abandon(bridge);
        }
        offers_free(offers);
        queue_fini(&asked);
        return 0;
}
