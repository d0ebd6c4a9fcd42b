#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/monitor.h"

enum field { VERSION, PID, START_TIME, EXIT_CODE, SIGNAL, OOM_KILLED, FINISHED_AT, FIELDS };

static const struct {
        const char *name;
        uint64_t max;
} fields[FIELDS] = {
        [VERSION] = {"version", INT_MAX},
        [PID] = {"pid", INT_MAX},
        [START_TIME] = {"start_time", INT64_MAX},
        [EXIT_CODE] = {"exit_code", 255},
        [SIGNAL] = {"signal", 64},
        [OOM_KILLED] = {"oom_killed", 1},
        [FINISHED_AT] = {"finished_at", INT64_MAX},
};

static bool parse_number(const char *text, uint64_t max, uint64_t *number)
{
        uint64_t value = 0;

        if (!*text)
                return false;
        for (; *text; text++) {
                if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (unsigned)(*text - '0'), &value))
                        return false;
        }
        if (value > max)
                return false;
        *number = value;
        return true;
}

static int find_field(const char *name)
{
        for (int i = 0; i < FIELDS; i++) {
                if (strcmp(fields[i].name, name) == 0)
                        return i;
        }
        return -1;
}

/* Each known line exactly once; lines that a later version adds are passed over. text is cut up. */
static const char *parse(char *text, uint64_t values[FIELDS])
{
        bool seen[FIELDS] = {0};
        char *next;

        for (char *line = text; *line; line = next) {
                char *end = strchr(line, '\n');
                char *value = strchr(line, '=');
                int field;

                if (!end || !value || value > end)
                        return "a line is not name=number";
                next = end + 1;
                *end = *value++ = 0;
                field = find_field(line);
                if (field < 0 && seen[VERSION] && values[VERSION] > MONITOR_EXIT_RECORD_VERSION)
                        continue;
                if (field < 0 || seen[field])
                        return "a line is unknown or there twice";
                if (!parse_number(value, fields[field].max, &values[field]))
                        return "a value is no number or too large";
                seen[field] = true;
        }
        for (int i = 0; i < FIELDS; i++) {
                if (!seen[i])
                        return "it is not whole";
        }
        return values[VERSION] ? NULL : "its version is 0";
}

int exit_record_read(const char *directory, struct monitor_exit *record, struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/%s", directory, MONITOR_EXIT_RECORD);
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        uint64_t values[FIELDS];
        const char *problem;
        int result = file_read(path, MONITOR_EXIT_RECORD_MAX, &contents, err);

        if (result == -EFBIG)
                return error_set(err, ERROR_DATA_LOSS, "exit record %s: it is too long", path);
        if (result < 0)
                return error_context(err, "exit record");
        if (!contents.data || strlen(contents.data) != contents.length)
                return error_set(err, ERROR_DATA_LOSS, "exit record %s: it is no text", path);
        problem = parse(contents.data, values);
        if (problem)
                return error_set(err, ERROR_DATA_LOSS, "exit record %s: %s", path, problem);
        *record = (struct monitor_exit){
                .pid = (pid_t)values[PID],
                .start_time = values[START_TIME],
                .exit_code = (int)values[EXIT_CODE],
                .signal = (int)values[SIGNAL],
                .oom_killed = values[OOM_KILLED],
                .finished_at = (int64_t)values[FINISHED_AT],
        };
        return 0;
}

int exit_record_write_for(const char *directory, const struct monitor_exit *record,
                          struct error *err)
{
        AUTO_FREE char *path = xprintf("%s/%s", directory, MONITOR_EXIT_RECORD);
        const unsigned long long values[FIELDS] = {
                [VERSION] = MONITOR_EXIT_RECORD_VERSION,
                [PID] = (unsigned long long)record->pid,
                [START_TIME] = record->start_time,
                [EXIT_CODE] = (unsigned long long)record->exit_code,
                [SIGNAL] = (unsigned long long)record->signal,
                [OOM_KILLED] = record->oom_killed,
                [FINISHED_AT] = (unsigned long long)record->finished_at,
        };
        AUTO_BUFFER struct buffer text = BUFFER_INIT;

        for (int i = 0; i < FIELDS; i++)
                buffer_printf(&text, "%s=%llu\n", fields[i].name, values[i]);
        return file_replace(path, text.data, text.length, 0600, err);
}
