#include "oci/hugepages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

/* "2MB" in KiB; 0 for what is no size. */
static unsigned long long size_kib(const char *size)
{
        char *unit;
        if (*size < '1' || *size > '9')
                return 0;
        errno = 0;
        unsigned long long number = strtoull(size, &unit, 10);
        if (errno || number > (1ULL << 40))
                return 0;
        if (strcmp(unit, "KB") == 0)
                return number;
        if (strcmp(unit, "MB") == 0)
                return number << 10;
        return strcmp(unit, "GB") == 0 ? number << 20 : 0;
}

bool hugepages_known(const char *root, const char *size)
{
        unsigned long long kib = size_kib(size);
        AUTO_FREE char *folder = xprintf("%s/hugepages-%llukB", root, kib);
        return kib && access(folder, F_OK) == 0;
}

int hugepages_limit(const struct cgroup_system *system, const char *path,
                    const struct spec_hugepage *limits, size_t count, struct error *err)
{
        const char *suffix = system->mode == CGROUP_MODE_V2 ? "max" : "limit_in_bytes";
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *name = xprintf("hugetlb.%s.%s", limits[i].size, suffix);
                AUTO_FREE char *file = cgroup_file(system, path, "hugetlb", name);
                AUTO_FREE char *value = xprintf("%llu", (unsigned long long)limits[i].limit);
                if (!file || access(file, F_OK) < 0)
                        continue;
                int result = file_write(file, value, err);
                if (result < 0)
                        return result;
        }
        return 0;
}
