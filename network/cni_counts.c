#include "network/cni_counts.h"

#include <string.h>

static struct cni_count counts[] = {
        {.command = "ADD"},    {.command = "DEL"}, {.command = "CHECK"},
        {.command = "STATUS"}, {.command = "GC"},  {.command = "VERSION"},
};

void cni_counts_note(const char *command, int64_t nanoseconds, int result)
{
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
                if (strcmp(counts[i].command, command) != 0)
                        continue;
                histogram_add(&counts[i].latency, nanoseconds);
                counts[i].failures += result < 0;
        }
}

const struct cni_count *cni_counts(size_t *count)
{
        *count = sizeof counts / sizeof *counts;
        return counts;
}
