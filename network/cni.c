#include "network/cni.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "network/cni_counts.h"
#include "network/cni_result.h"

#define DEFAULT_PATH   "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define TAIL_MAX       400 /* bytes of a plugin's babble that an error quotes */
#define SUPPORTED_KEY  "supportedVersions"
#define ERROR_SIZE_MAX (64 * 1024) /* bytes of an error object; more is rubbish */
#define PARSE_HERE_MAX (32 * 1024) /* bytes of a result that are parsed on the loop's thread */

/* Error codes of the specification that mean more than "it failed". */
enum {
        CNI_CODE_TRY_AGAIN = 11,
        CNI_CODE_NOT_AVAILABLE = 50,
        CNI_CODE_LIMITED = 51,
};

/* ---- finding a plugin ---- */

struct lookup {
        char *const *directories;
        const char *type;
        char *path; /* the result */
};

static int find_on_worker(void *argument)
{
        struct lookup *lookup = argument;
        for (char *const *each = lookup->directories; *each; each++) {
                char *path = xprintf("%s/%s", *each, lookup->type);
                struct stat status;
                if (stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
                    access(path, X_OK) == 0) {
                        lookup->path = path;
                        return 0;
                }
                free(path);
        }
        return -ENOENT;
}

bool cni_plugin_is_there(char *const *plugin_dirs, const char *type)
{
        struct lookup lookup = {.directories = plugin_dirs, .type = type};
        int result = find_on_worker(&lookup);
        free(lookup.path);
        return result == 0;
}

static int tell_missing(char *const *plugin_dirs, struct error *err)
{
        AUTO_BUFFER struct buffer folders = BUFFER_INIT;
        for (char *const *each = plugin_dirs; *each; each++)
                buffer_printf(&folders, "%s%s", folders.length ? ", " : "", *each);
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "no such program in %s: install it, or name its folder in plugin_dirs",
                         folders.length ? folders.data : "an empty list of plugin folders");
}

static int find_plugin(char *const *plugin_dirs, const char *type, char **path, struct error *err)
{
        struct lookup lookup = {.directories = plugin_dirs, .type = type};
        if (task_offload(find_on_worker, &lookup) < 0)
                return tell_missing(plugin_dirs, err);
        *path = lookup.path;
        return 0;
}

struct search {
        char *const *directories;
        const struct cni_network *network;
        const char *missing; /* the result */
};

static int search_on_worker(void *argument)
{
        struct search *search = argument;
        for (size_t i = 0; !search->missing && i < search->network->plugin_count; i++)
                if (!cni_plugin_is_there(search->directories, search->network->plugins[i].type))
                        search->missing = search->network->plugins[i].type;
        return 0;
}

int cni_check_plugins(char *const *plugin_dirs, const struct cni_network *network,
                      struct error *err)
{
        struct search search = {.directories = plugin_dirs, .network = network};
        task_offload(search_on_worker, &search);
        if (!search.missing)
                return 0;
        tell_missing(plugin_dirs, err);
        return error_context(err, "network %s: plugin %s", network->name, search.missing);
}

/* ---- one run of one plugin ---- */

struct invocation {
        char *const *plugin_dirs;
        const char *command;
        const char *type;
        const struct cni_attachment *attachment; /* or null */
        const json_t *input;
        int64_t deadline;
        bool interruptible;
};

static char **make_environment(const struct invocation *invocation)
{
        const struct cni_attachment *attachment = invocation->attachment;
        char **environment = NULL;
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        buffer_printf(&text, "CNI_COMMAND=%s", invocation->command);
        strv_push(&environment, text.data);
        text.length = 0;
        buffer_add_text(&text, "CNI_PATH=");
        for (char *const *each = invocation->plugin_dirs; *each; each++)
                buffer_printf(&text, "%s%s", each == invocation->plugin_dirs ? "" : ":", *each);
        strv_push(&environment, text.data);
        text.length = 0;
        /* Plugins call iptables, nft and the like by name. */
        const char *path = getenv("PATH");
        buffer_printf(&text, "PATH=%s", path && *path ? path : DEFAULT_PATH);
        strv_push(&environment, text.data);
        if (!attachment)
                return environment;
        const struct {
                const char *key, *value;
        } variables[] = {
                {"CNI_CONTAINERID", attachment->container_id},
                {"CNI_NETNS", attachment->netns},
                {"CNI_IFNAME", attachment->interface},
                {"CNI_ARGS", attachment->args},
        };
        for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
                text.length = 0;
                buffer_printf(&text, "%s=%s", variables[i].key,
                              variables[i].value ? variables[i].value : "");
                strv_push(&environment, text.data);
        }
        return environment;
}

/* The end of what a plugin said, on one line. */
static void quote_tail(const struct buffer *said, char out[TAIL_MAX + 4])
{
        size_t end = said->length;
        while (end > 0 && strchr(" \r\n\t", said->data[end - 1]))
                end--;
        size_t start = end > TAIL_MAX ? end - TAIL_MAX : 0;
        size_t length = 0;
        if (start > 0) {
                memcpy(out, "...", 3);
                length = 3;
        }
        for (size_t i = start; i < end; i++) {
                unsigned char byte = (unsigned char)said->data[i];
                out[length++] = byte < ' ' || byte == 0x7f ? ' ' : (char)byte;
        }
        out[length] = '\0';
}

static enum error_code code_of(int64_t cni_code)
{
        switch (cni_code) {
        case CNI_CODE_TRY_AGAIN:
        case CNI_CODE_NOT_AVAILABLE:
        case CNI_CODE_LIMITED:
                return ERROR_UNAVAILABLE;
        default:
                return ERROR_INTERNAL;
        }
}

/* The plugin's own error object, if that is what it printed. */
static bool tell_plugin_error(const struct process_run *run, struct error *err)
{
        AUTO_JSON json_t *json = NULL;
        const char *message = NULL, *details = NULL;
        int64_t code = 0;
        if (run->output.length > ERROR_SIZE_MAX || run->output.length == 0 ||
            json_parse(run->output.data, run->output.length, "error", &json, NULL) < 0 ||
            !json_is_object(json))
                return false;
        if (json_get_string(json, "msg", "error", &message, NULL) < 0 ||
            json_get_string(json, "details", "error", &details, NULL) < 0 ||
            json_get_int(json, "code", "error", &code, NULL) < 0 || (!message && !code))
                return false;
        error_set(err, code_of(code), "%s%s%s (CNI error code %lld)",
                  message && *message ? message : "no message", details && *details ? ": " : "",
                  details ? details : "", (long long)code);
        return true;
}

static int tell_failure(const struct process_run *run, struct error *err)
{
        char output[TAIL_MAX + 4], errors[TAIL_MAX + 4], status[48];
        if (tell_plugin_error(run, err))
                return err ? err->number : -EIO;
        if (WIFSIGNALED(run->status))
                snprintf(status, sizeof status, "killed by signal %d", WTERMSIG(run->status));
        else
                snprintf(status, sizeof status, "exit status %d", WEXITSTATUS(run->status));
        quote_tail(&run->output, output);
        quote_tail(&run->errors, errors);
        if (!*output && !*errors)
                return error_set(err, ERROR_INTERNAL, "%s without a message", status);
        return error_set(err, ERROR_INTERNAL, "%s%s%s%s%s%s", status,
                         *output ? ", printed what is no CNI error: \"" : "", output,
                         *output ? "\"" : "", *errors ? ", on stderr: " : "", errors);
}

static int tell_no_answer(const struct process_run *run, int result, int64_t started,
                          struct error *err)
{
        char errors[TAIL_MAX + 4];
        quote_tail(&run->errors, errors);
        if (result == -ECANCELED)
                return error_set(err, ERROR_CANCELLED, "cancelled, killed");
        return error_set(err, ERROR_DEADLINE_EXCEEDED,
                         "no answer after %lld ms, killed with all that it started%s%s",
                         (long long)((clock_monotonic() - started) / NSEC_PER_MSEC),
                         *errors ? "; on stderr: " : "", errors);
}

/* Runs the plugin; run is filled and the caller's to fini, also after a failure. */
static int run_plugin(const struct invocation *invocation, struct process_run *run,
                      struct error *err)
{
        AUTO_FREE char *path = NULL;
        AUTO_FREE char *input = json_text(invocation->input);
        int64_t started = clock_monotonic();
        if (started >= invocation->deadline)
                return error_set(err, ERROR_DEADLINE_EXCEEDED,
                                 "not called: the plugins before it took all the time");
        int result = find_plugin(invocation->plugin_dirs, invocation->type, &path, err);
        if (result < 0)
                return result;
        char **environment = make_environment(invocation);
        char *argv[] = {path, NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        options.path = path;
        options.argv = argv;
        options.environment = environment;
        run->input = input;
        run->input_length = strlen(input);
        run->output_max = CNI_OUTPUT_MAX;
        run->errors_max = CNI_ERRORS_MAX;
        run->deadline = invocation->deadline;
        run->interruptible = invocation->interruptible;
        result = process_run(&options, run, err);
        run->input = NULL;
        strv_free(environment);
        if (result == -ETIMEDOUT || result == -ECANCELED)
                return tell_no_answer(run, result, started, err);
        if (result < 0)
                return result;
        if (!WIFEXITED(run->status) || WEXITSTATUS(run->status) != 0)
                return tell_failure(run, err);
        return 0;
}

/* ---- what a plugin gets on stdin ---- */

static json_t *make_input(const struct cni_network *network, const struct cni_plugin *plugin,
                          const struct cni_attachment *attachment, const json_t *previous)
{
        json_t *input = json_copy((json_t *)plugin->json);
        json_object_set_new(input, "name", json_string(network->name));
        json_object_set_new(input, "cniVersion", json_string(cni_version_name(network->version)));
        if (previous)
                json_object_set(input, "prevResult", (json_t *)previous);
        json_t *runtime = json_object();
        const char *capability;
        json_t *value;
        json_object_foreach ((json_t *)(attachment ? attachment->capability_args : NULL),
                             capability, value) {
                if (cni_plugin_has_capability(plugin, capability))
                        json_object_set(runtime, capability, value);
        }
        if (json_object_size(runtime))
                json_object_set(input, "runtimeConfig", runtime);
        json_decref(runtime);
        return input;
}

/* Puts network, plugin and command before an error. */
static int in_plugin(const struct cni_network *network, const struct cni_plugin *plugin,
                     const char *command, struct error *err)
{
        return error_context(err, "network %s: plugin %s: %s", network->name, plugin->type,
                             command);
}

/* Whether the caller wants to be interrupted: a plugin's run follows suit. */
static bool caller_is_interruptible(void)
{
        bool interruptible = task_set_interruptible(false);
        task_set_interruptible(interruptible);
        return interruptible;
}

static int call(char *const *plugin_dirs, const struct cni_network *network,
                const struct cni_plugin *plugin, const char *command,
                const struct cni_attachment *attachment, const json_t *input, int64_t deadline,
                bool interruptible, struct process_run *run, struct error *err)
{
        struct invocation invocation = {
                .plugin_dirs = plugin_dirs,
                .command = command,
                .type = plugin->type,
                .attachment = attachment,
                .input = input,
                .deadline = deadline,
                .interruptible = interruptible,
        };
        int64_t began = clock_monotonic();
        int result = run_plugin(&invocation, run, err);
        cni_counts_note(command, clock_monotonic() - began, result);
        return result < 0 ? in_plugin(network, plugin, command, err) : 0;
}

/* ---- the commands ---- */

struct parse {
        const struct buffer *bytes;
        enum cni_version version;
        json_t **result;
        struct error *err;
};

static int parse_on_worker(void *argument)
{
        struct parse *parse = argument;
        return cni_result_parse(parse->bytes->data, parse->bytes->length, parse->version,
                                parse->result, parse->err);
}

static int parse_result(const struct process_run *run, enum cni_version version, json_t **result,
                        struct error *err)
{
        char output[TAIL_MAX + 4], errors[TAIL_MAX + 4];
        quote_tail(&run->errors, errors);
        if (run->output_cut)
                return error_set(err, ERROR_INTERNAL, "printed more than %d bytes", CNI_OUTPUT_MAX);
        if (run->output.length == 0)
                return error_set(err, ERROR_INTERNAL, "succeeded without printing a result%s%s",
                                 *errors ? "; on stderr: " : "", errors);
        struct parse parse = {
                .bytes = &run->output, .version = version, .result = result, .err = err};
        int status = run->output.length > PARSE_HERE_MAX ? task_offload(parse_on_worker, &parse)
                                                         : parse_on_worker(&parse);
        if (status == 0)
                return 0;
        quote_tail(&run->output, output);
        char reason[ERROR_MESSAGE_MAX];
        error_render(err ? err : &(struct error){.message = "unreadable"}, reason, sizeof reason);
        return error_set(err, ERROR_INTERNAL, "%s: it printed \"%s\"%s%s", reason, output,
                         *errors ? "; on stderr: " : "", errors);
}

int cni_add(char *const *plugin_dirs, const struct cni_network *network,
            const struct cni_attachment *attachment, int64_t deadline, json_t **result,
            struct error *err)
{
        AUTO_JSON json_t *previous = NULL;
        bool interruptible = caller_is_interruptible();
        for (size_t i = 0; i < network->plugin_count; i++) {
                const struct cni_plugin *plugin = &network->plugins[i];
                AUTO_JSON json_t *input = make_input(network, plugin, attachment, previous);
                struct process_run run = {0};
                json_t *answer = NULL;
                int status = call(plugin_dirs, network, plugin, "ADD", attachment, input, deadline,
                                  interruptible, &run, err);
                if (status == 0) {
                        status = parse_result(&run, network->version, &answer, err);
                        if (status < 0)
                                in_plugin(network, plugin, "ADD", err);
                }
                process_run_fini(&run);
                if (status < 0)
                        return status;
                json_decref(previous);
                previous = answer;
        }
        *result = take_ptr(previous);
        return 0;
}

int cni_del(char *const *plugin_dirs, const struct cni_network *network,
            const struct cni_attachment *attachment, const json_t *previous, int64_t deadline,
            struct error *err)
{
        AUTO_JSON json_t *converted = NULL;
        int first = 0;
        if (previous && network->version >= CNI_0_4_0)
                converted = cni_result_convert(previous, network->version);
        for (size_t i = network->plugin_count; i-- > 0;) {
                const struct cni_plugin *plugin = &network->plugins[i];
                AUTO_JSON json_t *input = make_input(network, plugin, attachment, converted);
                struct process_run run = {0};
                /* One that hangs leaves time for those that come after it. */
                int64_t now = clock_monotonic();
                int64_t share = now + (deadline - now) / (int64_t)(i + 1);
                int status = call(plugin_dirs, network, plugin, "DEL", attachment, input, share,
                                  false, &run, first ? NULL : err);
                process_run_fini(&run);
                if (status < 0 && !first)
                        first = status;
        }
        return first;
}

int cni_check(char *const *plugin_dirs, const struct cni_network *network,
              const struct cni_attachment *attachment, const json_t *previous, int64_t deadline,
              struct error *err)
{
        if (network->version < CNI_0_4_0)
                return error_set(err, ERROR_UNIMPLEMENTED,
                                 "network %s: CHECK came with version 0.4.0, this is %s",
                                 network->name, cni_version_name(network->version));
        if (network->disable_check)
                return 0;
        AUTO_JSON json_t *converted =
                previous ? cni_result_convert(previous, network->version) : NULL;
        bool interruptible = caller_is_interruptible();
        for (size_t i = 0; i < network->plugin_count; i++) {
                const struct cni_plugin *plugin = &network->plugins[i];
                AUTO_JSON json_t *input = make_input(network, plugin, attachment, converted);
                struct process_run run = {0};
                int status = call(plugin_dirs, network, plugin, "CHECK", attachment, input,
                                  deadline, interruptible, &run, err);
                process_run_fini(&run);
                if (status < 0)
                        return status;
        }
        return 0;
}

int cni_plugin_versions(char *const *plugin_dirs, const char *type, int64_t deadline,
                        json_t **supported, struct error *err)
{
        /* Old plugins want all variables to be there, whatever the command. */
        static const struct cni_attachment dummy = {
                .container_id = "dummy", .netns = "dummy", .interface = "dummy"};
        AUTO_JSON json_t *input = json_pack("{s:s}", "cniVersion", cni_version_name(CNI_1_1_0));
        struct invocation invocation = {
                .plugin_dirs = plugin_dirs,
                .command = "VERSION",
                .type = type,
                .attachment = &dummy,
                .input = input,
                .deadline = deadline,
        };
        struct process_run run = {0};
        AUTO_JSON json_t *answer = NULL;
        json_t *list = NULL;
        int status = run_plugin(&invocation, &run, err);
        if (status == 0)
                status = json_parse(run.output.data ? run.output.data : "", run.output.length,
                                    "its answer", &answer, err);
        process_run_fini(&run);
        if (status == 0)
                status = json_get_array(answer, SUPPORTED_KEY, "its answer", &list, err);
        if (status == 0 && !list)
                status = error_set(err, ERROR_INTERNAL, "its answer has no " SUPPORTED_KEY);
        if (status < 0)
                return error_context(err, "plugin %s: VERSION", type);
        *supported = json_incref(list);
        return 0;
}

/* Calls a command that came with 1.1.0 on each plugin that speaks it. */
static int call_newest(char *const *plugin_dirs, const struct cni_network *network,
                       const char *command, const json_t *valid, int64_t deadline,
                       struct error *err)
{
        if (network->version < CNI_1_1_0)
                return 0;
        for (size_t i = 0; i < network->plugin_count; i++) {
                const struct cni_plugin *plugin = &network->plugins[i];
                AUTO_JSON json_t *supported = NULL;
                int status =
                        cni_plugin_versions(plugin_dirs, plugin->type, deadline, &supported, err);
                if (status < 0)
                        return error_context(err, "network %s", network->name);
                bool speaks = false;
                for (size_t k = 0; k < json_array_size(supported); k++) {
                        const char *text = json_string_value(json_array_get(supported, k));
                        speaks = speaks || (text && strcmp(text, cni_version_name(CNI_1_1_0)) == 0);
                }
                if (!speaks)
                        continue;
                AUTO_JSON json_t *input = make_input(network, plugin, NULL, NULL);
                if (valid) {
                        /* The specification and its first implementations differ in the name. */
                        json_object_set(input, "cni.dev/valid-attachments", (json_t *)valid);
                        json_object_set(input, "cni.dev/attachments", (json_t *)valid);
                }
                struct process_run run = {0};
                status = call(plugin_dirs, network, plugin, command, NULL, input, deadline, false,
                              &run, err);
                process_run_fini(&run);
                if (status < 0)
                        return status;
        }
        return 0;
}

int cni_status(char *const *plugin_dirs, const struct cni_network *network, int64_t deadline,
               struct error *err)
{
        return call_newest(plugin_dirs, network, "STATUS", NULL, deadline, err);
}

int cni_gc(char *const *plugin_dirs, const struct cni_network *network, const json_t *valid,
           int64_t deadline, struct error *err)
{
        if (network->disable_gc)
                return 0;
        return call_newest(plugin_dirs, network, "GC", valid, deadline, err);
}
