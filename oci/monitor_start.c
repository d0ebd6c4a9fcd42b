#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "base/process.h"
#include "oci/monitor.h"
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

static void push_number(char ***arguments, const char *name, uint64_t number)
{
        AUTO_FREE char *digits = xprintf("%llu", (unsigned long long)number);

        if (number)
                push_pair(arguments, name, digits);
}

static char **make_arguments(const struct monitor_options *options)
{
        char **arguments = NULL;

        strv_push(&arguments, "crisp-monitor");
        push_pair(&arguments, "--id", options->id);
        push_pair(&arguments, "--directory", options->directory);
        push_pair(&arguments, "--socket", options->socket_path);
        push_pair(&arguments, "--pid-file", options->pid_file);
        push_pair(&arguments, "--log", options->log_path);
        push_number(&arguments, "--log-size-max", options->log_size_max);
        push_number(&arguments, "--log-files-max", options->log_files_max);
        push_number(&arguments, "--log-line-max", options->log_line_max);
        push_pair(&arguments, "--journal", options->journal_socket);
        push_pair(&arguments, "--name", options->name);
        push_pair(&arguments, "--oom-file", options->oom_file);
        push_pair(&arguments, "--oom-parent-file", options->oom_parent_file);
        push_pair(&arguments, "--runtime-log", options->runtime_log);
        push_pair(&arguments, "--shim", options->shim);
        push_pair(&arguments, "--shim-create", options->shim_create);
        push_pair(&arguments, "--shim-wait", options->shim_wait);
        push_pair(&arguments, "--shim-close", options->shim_close);
        push_pair(&arguments, "--fifos", options->shim ? options->fifos : NULL);
        if (options->terminal)
                strv_push(&arguments, "--terminal");
        if (options->stdin_open)
                strv_push(&arguments, "--stdin");
        if (options->stdin_once)
                strv_push(&arguments, "--stdin-once");
        strv_push(&arguments, "--");
        for (char *const *argument = options->command; argument && *argument; argument++)
                strv_push(&arguments, *argument);
        return arguments;
}

static int runtime_error(const struct monitor_options *options, const struct monitor_report *report,
                         struct error *err)
{
        const char *separator = report->text_length ? ": " : "";

        if (options->shim)
                return error_set(err, ERROR_UNKNOWN, "shim: Create%s%s", separator, report->text);

        const char *slash = strrchr(options->command[0], '/');
        const char *name = slash ? slash + 1 : options->command[0];

        if (WIFSIGNALED(report->status))
                return error_set(err, ERROR_UNKNOWN, "%s: killed by signal %d%s%s", name,
                                 WTERMSIG(report->status), separator, report->text);
        return error_set(err, ERROR_UNKNOWN, "%s: exit status %d%s%s", name,
                         WEXITSTATUS(report->status), separator, report->text);
}

/* A monitor that was killed leaves them. */
static void remove_sockets(const char *path)
{
        AUTO_FREE char *console = xprintf("%s" MONITOR_CONSOLE_SUFFIX, path);

        unlink(path);
        unlink(console);
}

int monitor_start(const struct monitor_options *options, struct monitor_started *result,
                  struct error *err)
{
        CLEANUP(cleanup_strv) char **arguments = make_arguments(options);
        /* 4 KiB and more are better not on a task's small stack. */
        AUTO_FREE struct monitor_report *report = xcalloc(1, sizeof(*report));
        struct process_options process = PROCESS_OPTIONS_INIT;
        pid_t monitor_pid = 0;
        int number;

        process.path = options->program;
        process.argv = arguments;
        process.environment = options->environment;
        process.cgroup_fd = options->cgroup_fd;
        process.cgroup_v1_tasks = options->cgroup_v1_tasks;
        number = report_start("monitor", &process, options->deadline, report, &monitor_pid, err);
        if (number < 0) {
                remove_sockets(options->socket_path);
                return number;
        }
        switch (report->type) {
        case MONITOR_REPORT_OK:
                *result = (struct monitor_started){
                        .pid = report->pid,
                        .start_time = report->start_time,
                        .monitor_pid = monitor_pid,
                };
                return 0;
        case MONITOR_REPORT_RUNTIME_FAILED:
                return runtime_error(options, report, err);
        default:
                return error_set(err, ERROR_INTERNAL, "monitor: %s: %s", report->text,
                                 strerrordesc_np(report->number));
        }
}
