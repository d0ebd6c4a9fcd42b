#include "oci/holder.h"

#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/process.h"
#include "oci/report.h"

static void cleanup_strv(char ***vector)
{
        strv_free(*vector);
}

static void push_pair(char ***arguments, const char *name, const char *value)
{
        if (!value)
                return;
        strv_push(arguments, name);
        strv_push(arguments, value);
}

int holder_start(const struct holder_start_options *options, pid_t *pid, uint64_t *start_time,
                 struct error *err)
{
        CLEANUP(cleanup_strv) char **arguments = NULL;
        AUTO_FREE struct monitor_report *report = xcalloc(1, sizeof(*report));
        struct process_options process = PROCESS_OPTIONS_INIT;
        pid_t starter;
        int result;

        strv_push(&arguments, "crisp-pause");
        push_pair(&arguments, "--user", options->user);
        push_pair(&arguments, "--net", options->net);
        push_pair(&arguments, "--ipc", options->ipc);
        push_pair(&arguments, "--uts", options->uts);
        process.path = options->program;
        process.argv = arguments;
        process.cgroup_fd = options->cgroup_fd;
        process.cgroup_v1_tasks = options->cgroup_v1_tasks;
        process.processors = (const cpu_set_t *)options->processors;
        process.processors_size = sizeof *options->processors;
        result = report_start("pod holder", &process, options->deadline, report, &starter, err);
        if (result < 0)
                return result;
        if (report->type != MONITOR_REPORT_OK)
                return error_set(err, ERROR_INTERNAL, "pod holder: %s: %s", report->text,
                                 strerrordesc_np(report->number));
        *pid = report->pid;
        *start_time = report->start_time;
        return 0;
}
