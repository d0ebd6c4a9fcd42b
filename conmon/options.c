#include "conmon/options.h"

#include <stddef.h>
#include <string.h>

#include "conmon/protocol.h"
#include "conmon/text.h"

enum kind { TEXT, NUMBER, SWITCH };

struct option_name {
        const char *name;
        enum kind kind;
        bool required;
        size_t offset;
};

#define FIELD(field) offsetof(struct conmon_options, field)

static const struct option_name names[] = {
        {"--id", TEXT, true, FIELD(id)},
        {"--directory", TEXT, true, FIELD(directory)},
        {"--socket", TEXT, true, FIELD(socket)},
        {"--pid-file", TEXT, false, FIELD(pid_file)},
        {"--log", TEXT, false, FIELD(log)},
        {"--log-size-max", NUMBER, false, FIELD(log_size_max)},
        {"--log-files-max", NUMBER, false, FIELD(log_files_max)},
        {"--log-line-max", NUMBER, false, FIELD(log_line_max)},
        {"--journal", TEXT, false, FIELD(journal)},
        {"--name", TEXT, false, FIELD(name)},
        {"--oom-file", TEXT, false, FIELD(oom_file)},
        {"--oom-parent-file", TEXT, false, FIELD(oom_parent_file)},
        {"--runtime-log", TEXT, false, FIELD(runtime_log)},
        {"--shim", TEXT, false, FIELD(shim)},
        {"--shim-create", TEXT, false, FIELD(shim_create)},
        {"--shim-wait", TEXT, false, FIELD(shim_wait)},
        {"--shim-close", TEXT, false, FIELD(shim_close)},
        {"--fifos", TEXT, false, FIELD(fifos)},
        {"--runtime-stderr-max", NUMBER, false, FIELD(runtime_stderr_max)},
        {"--terminal", SWITCH, false, FIELD(terminal)},
        {"--stdin", SWITCH, false, FIELD(open_stdin)},
        {"--stdin-once", SWITCH, false, FIELD(stdin_once)},
};
#define NAME_COUNT (sizeof(names) / sizeof(*names))

static const struct option_name *find_name(const char *argument)
{
        for (size_t i = 0; i < NAME_COUNT; i++) {
                if (strcmp(names[i].name, argument) == 0)
                        return &names[i];
        }
        return NULL;
}

int conmon_options_parse(int argc, char **argv, struct conmon_options *options,
                         const char **problem, const char **argument)
{
        struct conmon_options result = {.runtime_stderr_max = MONITOR_REPORT_TEXT_MAX};
        int i;

        for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
                const struct option_name *name = find_name(argv[i]);
                char *field;

                *argument = argv[i];
                if (!name) {
                        *problem = "unknown option";
                        return -1;
                }
                field = (char *)&result + name->offset;
                if (name->kind == SWITCH) {
                        *(bool *)field = true;
                        continue;
                }
                if (++i >= argc) {
                        *problem = "a value is missing after";
                        return -1;
                }
                if (name->kind == TEXT) {
                        *(const char **)field = argv[i];
                } else if (!text_parse_number(argv[i], (uint64_t *)field)) {
                        *problem = "not a number after";
                        return -1;
                }
        }
        for (size_t n = 0; n < NAME_COUNT; n++) {
                if (names[n].required && !*(const char **)((char *)&result + names[n].offset)) {
                        *problem = "missing option";
                        *argument = names[n].name;
                        return -1;
                }
        }
        *argument = NULL;
        if (result.shim &&
            !(result.shim_create && result.shim_wait && result.shim_close && result.fifos)) {
                *problem = "--shim wants --shim-create, --shim-wait, --shim-close and --fifos";
                return -1;
        }
        if (!result.shim && !result.pid_file) {
                *problem = "missing option";
                *argument = "--pid-file";
                return -1;
        }
        if (!result.shim && i + 1 >= argc) {
                *problem = "the runtime's command is missing after --";
                return -1;
        }
        result.command = result.shim ? NULL : argv + i + 1;
        *options = result;
        return 0;
}
