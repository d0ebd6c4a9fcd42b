/* Any bytes as a shim's answers: to its start, which the daemon reads, and on its connection, which
 * the monitor does. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "conmon/shim.h"
#include "oci/shim_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_start(const uint8_t *data, size_t size)
{
        struct shim_bootstrap bootstrap = {0};
        struct error err = {0};

        if (shim_bootstrap_parse((const char *)data, size, &bootstrap, &err) < 0) {
                assert(!bootstrap.address && err.message[0]);
                return;
        }
        assert(bootstrap.address[0] && strlen(bootstrap.address) < SHIM_ANSWER_BYTES_MAX);
        assert(bootstrap.version == 2 || bootstrap.version == 3);
        shim_bootstrap_fini(&bootstrap);
}

static void inside(const uint8_t *data, size_t size, const void *at, size_t length)
{
        const uint8_t *from = at;

        assert(!from || (from >= data && length <= size && from + length <= data + size));
}

static void read_answer(const uint8_t *data, size_t size)
{
        struct shim_answer answer;

        if (shim_parse(data, size, &answer) < 0)
                return;
        inside(data, size, answer.message, answer.message_length);
        inside(data, size, answer.payload, answer.length);
        struct shim_end end = shim_wait_answer(&answer);
        assert(end.finished_at >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        read_start(data, size);
        read_answer(data, size);
        return 0;
}
