/* What an exec asks of the runtime: its words and its process file. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "oci/exec.h"
#include "oci/runtime_private.h"
#include "oci/spec.h"

char **exec_argv(const struct runtime_handler *handler, const char *id,
                 const struct exec_words *words)
{
        char **argv = runtime_base_argv(handler, words->log);
        strv_push(&argv, "exec");
        if (words->detach)
                strv_push(&argv, "--detach");
        if (words->pid_file) {
                strv_push(&argv, "--pid-file");
                strv_push(&argv, words->pid_file);
        }
        if (words->console_socket) {
                strv_push(&argv, "--tty");
                strv_push(&argv, "--console-socket");
                strv_push(&argv, words->console_socket);
        }
        if (words->sub_cgroup) {
                strv_push(&argv, "--cgroup");
                strv_push(&argv, words->sub_cgroup);
        }
        strv_push(&argv, "--process");
        strv_push(&argv, words->process_file);
        strv_push(&argv, id);
        return argv;
}

/* The container's own process with another command; new reference, or null for a config.json that
 * is not ours. */
static json_t *process_of(const json_t *spec, char *const *command, bool terminal,
                          const char *variable)
{
        json_t *process = json_object_get(spec, "process");
        json_t *args = json_array();
        for (; *command; command++)
                json_array_append_new(args, json_string(*command));
        json_object_set_new(process, "args", args);
        json_object_set_new(process, "terminal", json_boolean(terminal));
        if (variable)
                json_array_append_new(json_object_get(process, "env"), json_string(variable));
        return json_incref(process);
}

int exec_process_write(const char *bundle, char *const *command, bool terminal,
                       const char *variable, const char *path, struct error *err)
{
        AUTO_FREE char *config = xprintf("%s/config.json", bundle);
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *spec = NULL;
        for (char *const *word = command; *word; word++) {
                json_t *valid = json_string(*word);
                json_decref(valid);
                if (!valid)
                        return error_set(err, ERROR_INVALID_ARGUMENT, "command: not UTF-8");
        }
        int result = file_read(config, SPEC_FILE_MAX, &text, err);
        if (result == 0)
                result = json_parse(text.data ? text.data : "", text.length, config, &spec, err);
        if (result < 0)
                return result;
        AUTO_JSON json_t *process = process_of(spec, command, terminal, variable);
        if (!process)
                return error_set(err, ERROR_INTERNAL, "%s: it has no process", config);
        AUTO_FREE char *written = json_text(process);
        return file_replace_volatile(path, written, strlen(written), 0600, err);
}
