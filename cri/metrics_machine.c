#include "cri/metrics_machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/container.h"
#include "cri/metric_groups.h"
#include "cri/metric_text.h"
#include "cri/metrics.h"
#include "oci/cgroup_reader.h"
#include "cri/stats_source.h"

#define PROCESSES_MAX 200000 /* that are looked at for defunct ones */

struct log_file {
        struct container *container; /* counted */
        char *path;                  /* heap */
        int64_t bytes;               /* or -1 */
};

struct look {
        size_t defunct, descriptors;
        uint64_t resident; /* bytes */
        double cpu;        /* seconds */
        struct log_file *logs;
        size_t log_count;
};

bool metrics_machine_is_defunct(const char *stat)
{
        /* The program's name stands in brackets, and may hold any. */
        const char *bracket = strrchr(stat, ')');
        return bracket && bracket[1] == ' ' && bracket[2] == 'Z';
}

static void count_defunct(struct look *look)
{
        AUTO_DIR DIR *dir = opendir("/proc");
        struct dirent *entry;
        char path[64], stat_text[512];
        for (size_t seen = 0; dir && seen < PROCESSES_MAX && (entry = readdir(dir));) {
                if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
                        continue;
                seen++;
                snprintf(path, sizeof path, "%.20s/stat", entry->d_name);
                AUTO_FD int fd = openat(dirfd(dir), path, O_RDONLY | O_CLOEXEC);
                ssize_t got = fd < 0 ? -1 : read(fd, stat_text, sizeof stat_text - 1);
                if (got <= 0)
                        continue;
                stat_text[got] = '\0';
                look->defunct += metrics_machine_is_defunct(stat_text);
        }
}

static void look_at_self(struct look *look)
{
        AUTO_DIR DIR *dir = opendir("/proc/self/fd");
        AUTO_FILE FILE *statm = fopen("/proc/self/statm", "re");
        unsigned long all, resident;
        struct rusage usage;
        while (dir && readdir(dir))
                look->descriptors++;
        /* Without ., .. and the one that was opened to count. */
        look->descriptors -= look->descriptors > 3 ? 3 : look->descriptors;
        if (statm && fscanf(statm, "%lu %lu", &all, &resident) == 2)
                look->resident = (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
        if (getrusage(RUSAGE_SELF, &usage) == 0)
                look->cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                            (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int look_on_worker(void *argument)
{
        struct look *look = argument;
        struct stat status;
        count_defunct(look);
        look_at_self(look);
        for (size_t i = 0; i < look->log_count; i++)
                look->logs[i].bytes =
                        stat(look->logs[i].path, &status) == 0 ? (int64_t)status.st_size : -1;
        return 0;
}

/* ---- on the loop's thread ---- */

static void note_logs(struct look *look)
{
        size_t cursor = 0;
        look->logs = xcalloc(table_size(node.containers) + 1, sizeof *look->logs);
        for (struct container *each; (each = table_next(node.containers, &cursor, NULL));)
                if (each->phase == CONTAINER_RUNNING && each->log_path)
                        look->logs[look->log_count++] = (struct log_file){
                                .container = container_ref(each),
                                .path = xstrdup(each->log_path),
                        };
}

static void write_logs(struct buffer *text, const struct look *look)
{
        metric_head(text, "crisp_container_log_bytes", METRIC_GAUGE,
                    "Size of the log file of a container that runs; less after a rotation.");
        for (size_t i = 0; i < look->log_count; i++)
                if (look->logs[i].bytes >= 0)
                        metrics_container_sample(text, "crisp_container_log_bytes",
                                                 look->logs[i].container,
                                                 (double)look->logs[i].bytes);
}

static void write_process(struct buffer *text, const struct look *look, bool crio_names)
{
        metric_single(text, "process_cpu_seconds_total", METRIC_COUNTER,
                      "Processor time of the daemon.", look->cpu);
        metric_single(text, "process_resident_memory_bytes", METRIC_GAUGE,
                      "Memory of the daemon, with what it shares.", (double)look->resident);
        metric_single(text, "process_open_fds", METRIC_GAUGE, "Open descriptors of the daemon.",
                      (double)look->descriptors);
        metric_single(text, "crisp_tasks", METRIC_GAUGE, "Requests and other work under way.",
                      (double)task_count());
        metric_single(text, "crisp_statistics_descriptors", METRIC_GAUGE,
                      "Descriptors that are kept to read statistics.",
                      (double)cgroup_reader_kept());
        metric_single(text, "crisp_statistics_stuck", METRIC_GAUGE,
                      "Pods and containers whose statistics do not come.",
                      (double)stats_source_stuck());
        metric_single(text, "crisp_processes_defunct", METRIC_GAUGE,
                      "Processes of the machine that have ended and were not reaped.",
                      (double)look->defunct);
        if (crio_names)
                metric_single(text, "container_runtime_crio_processes_defunct", METRIC_GAUGE,
                              "Processes of the machine that have ended and were not reaped.",
                              (double)look->defunct);
}

void metrics_machine_write(struct buffer *text, unsigned collectors, bool crio_names)
{
        struct look look = {0};
        if (collectors & 1u << COLLECTOR_LOGS)
                note_logs(&look);
        task_offload(look_on_worker, &look);
        if (collectors & 1u << COLLECTOR_PROCESS)
                write_process(text, &look, crio_names);
        if (collectors & 1u << COLLECTOR_LOGS)
                write_logs(text, &look);
        for (size_t i = 0; i < look.log_count; i++) {
                container_unref(look.logs[i].container);
                free(look.logs[i].path);
        }
        free(look.logs);
}
