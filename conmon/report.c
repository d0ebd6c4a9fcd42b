#include "conmon/report.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "conmon/protocol.h"

static struct monitor_report report;

static void send_report(enum monitor_report_type type, size_t text_length)
{
        const char *bytes = (const char *)&report;
        size_t size = offsetof(struct monitor_report, text) + text_length, done = 0;

        report.version = MONITOR_PROTOCOL_VERSION;
        report.type = type;
        report.text_length = (uint32_t)text_length;
        while (done < size) {
                ssize_t written = write(MONITOR_REPORT_FD, bytes + done, size - done);

                if (written < 0 && errno == EINTR)
                        continue;
                if (written <= 0)
                        break;
                done += (size_t)written;
        }
        close(MONITOR_REPORT_FD);
}

void report_ok(pid_t pid, uint64_t start_time)
{
        report.pid = pid;
        report.start_time = start_time;
        send_report(MONITOR_REPORT_OK, 0);
}

void report_runtime_failed(int status, const struct text *text)
{
        size_t length = text->length;

        if (length > sizeof(report.text))
                length = sizeof(report.text);
        memcpy(report.text, text->data, length);
        report.status = status;
        send_report(MONITOR_REPORT_RUNTIME_FAILED, length);
}

void report_failed(int number, const char *step, const char *path)
{
        struct text text = text_in(report.text, sizeof(report.text));

        text_add(&text, step);
        if (path) {
                text_add(&text, " ");
                text_add(&text, path);
        }
        report.number = number < 0 ? -number : number;
        send_report(MONITOR_REPORT_FAILED, text.length);
}
