/* Any bytes as the statistics of a shim. The first byte chooses their type. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"
#include "oci/shim_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const types[] = {"io.containerd.cgroups.v1.Metrics",
                                            "x/io.containerd.cgroups.v2.Metrics"};
        struct cgroup_stats stats = {.real = 1, .monotonic = 2};
        AUTO_FREE struct cgroup_detail *detail = calloc(1, sizeof *detail);
        struct error err = {0};

        if (!size || !detail)
                return 0;
        if (shim_stats_parse(types[*data & 1], data + 1, size - 1, &stats,
                             *data & 2 ? detail : NULL, &err) < 0) {
                assert(err.message[0] && !stats.parts);
                return 0;
        }
        assert(stats.real == 1 && stats.monotonic == 2);
        assert(detail->device_count <= CGROUP_DEVICES_MAX);
        assert(detail->page_size_count <= CGROUP_PAGE_SIZES_MAX);
        assert((stats.parts & CGROUP_PART_DETAIL) == (*data & 2 ? CGROUP_PART_DETAIL : 0));
        return 0;
}
