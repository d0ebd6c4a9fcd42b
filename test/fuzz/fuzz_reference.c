/*
 * Any text as an image's name: it is refused, or what it means is written in full and reads as the
 * same again.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct reference reference, again;
        struct error err = {0};
        AUTO_FREE char *text = xstrndup((const char *)data, size);

        if (reference_parse(text, &reference, &err) < 0) {
                assert(err.code == ERROR_INVALID_ARGUMENT);
                return 0;
        }
        assert(reference.tag[0] || reference.digest[0]);
        assert(!reference.digest[0] || digest_is_valid(reference.digest));
        assert(!strstr(reference.repository, "..") && !strstr(reference.repository, "//"));
        AUTO_FREE char *full = reference_text(&reference);
        assert(reference_parse(full, &again, &err) == 0);
        AUTO_FREE char *same = reference_text(&again);
        assert(strcmp(full, same) == 0);
        assert(strcmp(reference.registry, again.registry) == 0);
        assert(strcmp(reference.repository, again.repository) == 0);
        return 0;
}
