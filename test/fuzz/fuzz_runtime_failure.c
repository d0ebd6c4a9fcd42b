/* Any bytes as what a runtime says when it fails: a short line of printable text. */
#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_FREE char *message = runtime_failure(NULL, (const char *)data, size);
        assert(strlen(message) < RUNTIME_MESSAGE_MAX);
        for (const char *at = message; *at; at++)
                assert((unsigned char)*at >= ' ' && *at != 127);
        json_t *text = json_string(message);
        assert(text); /* clients refuse what is not UTF-8 */
        json_decref(text);
        return 0;
}
