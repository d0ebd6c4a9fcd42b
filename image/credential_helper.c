#include "image/credential_helper.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "image/secret.h"

#define TOKEN_USERNAME "<token>"               /* the secret is an identity token */
#define NOT_FOUND_TEXT "credentials not found" /* what every helper says, whatever follows */
#define DEFAULT_PATH   "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define DEFAULT_HOME   "/root"
#define TEXT_MAX       (64u << 10) /* bytes of a user name or secret */
#define SAID_SHOWN     200         /* bytes of a helper's complaint in an error */

/* What a helper may see of the daemon's environment; what ends in _ stands for all that begin so.
 */
static const char *const PASSED[] = {
        "HTTP_PROXY",    "HTTPS_PROXY",
        "NO_PROXY",      "http_proxy",
        "https_proxy",   "no_proxy",
        "SSL_CERT_FILE", "SSL_CERT_DIR",
        "LANG",          "TMPDIR",
        "XDG_",          "DBUS_SESSION_BUS_ADDRESS",
        "GNUPGHOME",     "PASSWORD_STORE_DIR",
        "AWS_",          "AZURE_",
        "GOOGLE_",       "CLOUDSDK_",
        "DOCKER_",
};

/* ---- the program ---- */

struct search {
        const char *name;
        char *path; /* what was found; heap */
};

/* Blocks: in a worker. */
static int search_path(void *argument)
{
        struct search *search = argument;
        const char *folders = getenv("PATH");

        if (!folders || !folders[0])
                folders = DEFAULT_PATH;
        for (const char *at = folders; *at;) {
                size_t length = strcspn(at, ":");
                /* What is relative would be looked for where the daemon happens to stand. */
                if (length > 0 && at[0] == '/') {
                        struct stat status;
                        char *path = xprintf("%.*s/" CREDENTIAL_HELPER_PREFIX "%s", (int)length, at,
                                             search->name);
                        if (stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
                            access(path, X_OK) == 0) {
                                search->path = path;
                                return 0;
                        }
                        free(path);
                }
                at += length + (at[length] == ':');
        }
        return -ENOENT;
}

/* A name is part of a file name: nothing in it may lead elsewhere. */
static bool name_is_valid(const char *name)
{
        size_t length = strlen(name);

        if (length == 0 || length > CREDENTIAL_HELPER_NAME_MAX)
                return false;
        for (size_t i = 0; i < length; i++)
                if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
                        return false;
        return true;
}

static bool is_passed(const char *variable)
{
        size_t name = strcspn(variable, "=");

        for (size_t i = 0; i < sizeof(PASSED) / sizeof(PASSED[0]); i++) {
                size_t length = strlen(PASSED[i]);
                bool prefix = PASSED[i][length - 1] == '_';
                if (strncmp(variable, PASSED[i], length) == 0 && (prefix || name == length))
                        return true;
        }
        return false;
}

static char **make_environment(void)
{
        const char *path = getenv("PATH"), *home = getenv("HOME");
        AUTO_FREE char *path_set = xprintf("PATH=%s", path && path[0] ? path : DEFAULT_PATH);
        AUTO_FREE char *home_set = xprintf("HOME=%s", home && home[0] ? home : DEFAULT_HOME);
        char **environment = NULL;

        strv_push(&environment, path_set);
        strv_push(&environment, home_set);
        for (char **variable = environ; *variable; variable++)
                if (is_passed(*variable))
                        strv_push(&environment, *variable);
        return environment;
}

/* ---- its answer ---- */

static int read_text(const json_t *root, const char *key, const char **text, struct error *err)
{
        int r = json_get_string(root, key, "its answer", text, err);
        if (r < 0)
                return r;
        if (*text && strlen(*text) > TEXT_MAX)
                return error_set(err, ERROR_UNAVAILABLE, "its answer: %s: more than %u bytes", key,
                                 TEXT_MAX);
        return 0;
}

int credential_helper_read(const char *bytes, size_t length, struct fetch_credentials *found,
                           struct error *err)
{
        AUTO_JSON json_t *root = NULL;
        const char *username = NULL, *secret = NULL;

        /* The parser's own words quote what it stumbles over: that may be the secret. */
        if (json_parse(bytes, length, "its answer", &root, NULL) < 0 || !json_is_object(root))
                return error_set(err, ERROR_UNAVAILABLE,
                                 "its answer is not a JSON object with Username and Secret");
        int r = read_text(root, "Username", &username, err);
        if (r == 0)
                r = read_text(root, "Secret", &secret, err);
        if (r == 0) {
                struct fetch_credentials read = {0};
                if (username && strcmp(username, TOKEN_USERNAME) == 0)
                        read.identity_token = secret;
                else if (username && username[0])
                        read = (struct fetch_credentials){.username = username, .password = secret};
                secret_copy(found, &read);
        }
        char *text = (char *)(uintptr_t)json_string_value(json_object_get(root, "Secret"));
        request_wipe_text(text);
        return r;
}

/*
 * The first line of a complaint, printable; empty where it could be an answer: what says a secret
 * and then fails is not repeated.
 */
static void complaint(const struct buffer *said, char out[SAID_SHOWN + 1])
{
        size_t length = 0;

        for (size_t i = 0; i < said->length && length < SAID_SHOWN; i++) {
                char c = said->data[i];
                if (c == '\n' && length > 0)
                        break;
                if (c == '{' || c == '"') {
                        length = 0;
                        break;
                }
                if (c != '\n')
                        out[length++] = (char)(c >= ' ' && c < 0x7f ? c : '?');
        }
        out[length] = '\0';
}

static int read_end(const struct process_run *run, struct fetch_credentials *found,
                    struct error *err)
{
        char said[SAID_SHOWN + 1];

        if (run->status == 0 && run->output_cut)
                return error_set(err, ERROR_UNAVAILABLE, "an answer of more than %u bytes",
                                 CREDENTIAL_HELPER_OUTPUT_MAX);
        if (run->status == 0)
                return credential_helper_read(run->output.data, run->output.length, found, err);
        /* Complaints come on stdout, as the protocol has it. */
        complaint(&run->output, said);
        if (strncmp(said, NOT_FOUND_TEXT, strlen(NOT_FOUND_TEXT)) == 0) {
                *found = (struct fetch_credentials){0};
                return 0;
        }
        if (!said[0])
                complaint(&run->errors, said);
        if (WIFSIGNALED(run->status))
                return error_set(err, ERROR_UNAVAILABLE, "killed by signal %d%s%s",
                                 WTERMSIG(run->status), said[0] ? ": " : "", said);
        return error_set(err, ERROR_UNAVAILABLE, "exit status %d%s%s", WEXITSTATUS(run->status),
                         said[0] ? ": " : "", said);
}

static int run_helper(char *path, const char *server, int64_t deadline,
                      struct fetch_credentials *found, struct error *err)
{
        char *argv[] = {path, (char *)(uintptr_t) "get", NULL};
        char **environment = make_environment();
        struct process_options options = PROCESS_OPTIONS_INIT;
        struct process_run run = {
                .input = server,
                .input_length = strlen(server),
                .output_max = CREDENTIAL_HELPER_OUTPUT_MAX,
                .errors_max = CREDENTIAL_HELPER_ERRORS_MAX,
                .deadline = deadline,
                .interruptible = true,
        };

        options.path = path;
        options.argv = argv;
        options.environment = environment;
        /* Reserved as a whole, since what grows leaves its bytes behind. */
        buffer_reserve(&run.output, CREDENTIAL_HELPER_OUTPUT_MAX);
        int r = process_run(&options, &run, err);
        if (r == 0)
                r = read_end(&run, found, err);
        secret_wipe_buffer(&run.output);
        secret_wipe_buffer(&run.errors);
        process_run_fini(&run);
        strv_free(environment);
        return r;
}

int credential_helper_get(const char *name, const char *server, int64_t deadline,
                          struct fetch_credentials *found, struct error *err)
{
        struct search search = {.name = name};

        if (!name_is_valid(name))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "credential helper \"%.*s\": not a name that follows "
                                 "\"" CREDENTIAL_HELPER_PREFIX "\"",
                                 CREDENTIAL_HELPER_NAME_MAX, name);
        int r = task_offload(search_path, &search);
        AUTO_FREE char *path = search.path;
        if (r < 0)
                return error_set(err, ERROR_NOT_FOUND,
                                 CREDENTIAL_HELPER_PREFIX "%s is not in the daemon's PATH", name);
        r = run_helper(path, server, deadline, found, err);
        if (r < 0)
                return error_context(err, CREDENTIAL_HELPER_PREFIX "%s get %s", name, server);
        return 0;
}
