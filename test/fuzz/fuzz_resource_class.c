/* Any text as classes of block I/O, and as a quantity: read or refused. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "oci/resource_class.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_FREE char *text = xstrndup((const char *)data, size);
        AUTO_ARENA struct arena *arena = arena_new();
        const struct spec_block_io *limits = NULL;
        struct error err = {0};
        uint64_t value = 0;

        /* Patterns would be looked up in the machine's folders. */
        if (!strstr(text, "Devices") &&
            resource_class_parse_block_io(text, strlen(text), "input", "c", "/nowhere", arena,
                                          &limits, &err) == 0)
                assert(limits->weight == 0 || (limits->weight >= 10 && limits->weight <= 1000));
        if (resource_class_quantity(text, &value, &err) == 0)
                assert(value <= INT64_MAX);
        return 0;
}
