/* Any text as a list and as a mask of processors: read or refused, and what was read is written and
 * read again as the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "oci/cpu_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_FREE char *text = xstrndup((const char *)data, size);
        struct cpu_list cpus, again;
        struct error err;

        if (cpu_list_parse(text, &cpus, &err) == 0) {
                AUTO_FREE char *list = cpu_list_text(&cpus);
                assert(cpu_list_parse(list, &again, NULL) == 0 && cpu_list_equal(&cpus, &again));
        } else {
                assert(err.code == ERROR_INVALID_ARGUMENT);
        }
        if (cpu_list_parse_mask(text, &cpus, &err) == 0) {
                AUTO_FREE char *mask = cpu_list_mask(&cpus, cpu_list_mask_width(text));
                assert(cpu_list_parse_mask(mask, &again, NULL) == 0 &&
                       cpu_list_equal(&cpus, &again));
        } else {
                assert(err.code == ERROR_INVALID_ARGUMENT);
        }
        return 0;
}
