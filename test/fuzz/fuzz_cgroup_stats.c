/* Any bytes as each of the cgroup files, as a netlink answer and as /proc's files: numbers or
 * nothing, and never more than there is room for. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "cri/metrics_machine.h"
#include "network/interface_stats.h"
#include "oci/cgroup_stats.h"
#include "oci/process_stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_FREE char *text = xstrndup((const char *)data, size);
        static struct interface_stats list[INTERFACE_STATS_MAX];
        struct cgroup_stats stats = {0};
        struct cgroup_detail detail = {0};
        struct cgroup_pressure pressure;
        uint64_t value = 0;
        size_t count = 0;
        bool done = false;

        cgroup_parse_number(text, &value);
        cgroup_parse_key(text, "oom_kill", &value);
        cgroup_parse_memory_v1(text, &stats);
        cgroup_parse_memory_v2(text, &stats);
        cgroup_parse_cpu_v1(text, &detail);
        cgroup_parse_cpu_v2(text, &value, &detail);
        cgroup_parse_cpu_max(text, &detail);
        assert(cgroup_parse_pressure(text, &pressure) == pressure.known);
        cgroup_parse_io_v1(text, true, &detail);
        cgroup_parse_io_v1(text, false, &detail);
        cgroup_parse_io_v2(text, &detail);
        assert(detail.device_count <= CGROUP_DEVICES_MAX);
        assert(cgroup_working_set(&stats) <= stats.memory_usage);
        process_stats_parse_limits(text, &value);
        metrics_machine_is_defunct(text);

        interface_stats_parse(data, size, list, &count, &done);
        assert(count <= INTERFACE_STATS_MAX);
        for (size_t i = 0; i < count; i++)
                assert(list[i].name[0] && memchr(list[i].name, '\0', sizeof list[i].name));
        return 0;
}
