#include "oci/process_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"

#define LIMITS_MAX 8192 /* bytes */

bool process_stats_parse_limits(const char *text, uint64_t *soft)
{
        static const char name[] = "Max open files";
        const char *line = strstr(text, name);
        if (!line || (line != text && line[-1] != '\n'))
                return false;
        line += sizeof name - 1;
        line += strspn(line, " ");
        if (strncmp(line, "unlimited", 9) == 0) {
                *soft = UINT64_MAX;
                return true;
        }
        if (*line < '0' || *line > '9')
                return false;
        *soft = strtoull(line, NULL, 10);
        return true;
}

static void count_descriptors(pid_t pid, struct process_stats *stats)
{
        char path[64], target[16];
        snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
        AUTO_DIR DIR *dir = opendir(path);
        struct dirent *entry;
        while (dir && stats->descriptors < PROCESS_STATS_DESCRIPTORS_MAX &&
               (entry = readdir(dir))) {
                if (entry->d_name[0] == '.')
                        continue;
                stats->descriptors++;
                ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target);
                if (length >= 8 && memcmp(target, "socket:[", 8) == 0)
                        stats->sockets++;
        }
}

void process_stats_read(const struct cgroup_system *system, const char *path, pid_t pid,
                        struct process_stats *stats)
{
        AUTO_FREE pid_t *pids = NULL;
        AUTO_BUFFER struct buffer limits = BUFFER_INIT;
        char name[64];
        size_t count = 0;
        *stats = (struct process_stats){0};
        if (cgroup_processes(system, path, &pids, &count, NULL) < 0)
                return;
        stats->known = true;
        stats->processes = count;
        for (size_t i = 0; i < count && i < PROCESS_STATS_PROCESSES_MAX; i++)
                count_descriptors(pids[i], stats);
        snprintf(name, sizeof name, "/proc/%d/limits", (int)pid);
        if (pid > 0 && file_read(name, LIMITS_MAX, &limits, NULL) == 0 && limits.data)
                stats->open_files_known =
                        process_stats_parse_limits(limits.data, &stats->open_files_soft);
}
