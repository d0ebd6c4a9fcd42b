/* crisp images pull: an image's way here, watched. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "api/crisp/v1/crisp.pb-c.h"
#include "base/memory.h"
#include "cli/authfile.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"

#define REDRAW_PAUSE (100 * NSEC_PER_MSEC)

struct pull_options {
        struct options_common common;
        const char *credentials, *authfile;
        bool password_stdin, quiet;
};

/* What is shown of a pull. */
struct view {
        const char *reference;
        bool terminal, quiet;
        Crisp__V1__PullProgressResponse *latest; /* or null; the layers' order never changes */
        char (*told)[TEXT_VALUE_MAX];            /* without a terminal: layers that have a line */
        size_t told_count;
        size_t drawn;
};

/* ---- what is shown ---- */

static const Crisp__V1__Pull *pull_of(const struct view *view)
{
        return view->latest && view->latest->n_pulls ? view->latest->pulls[0] : NULL;
}

static struct progress_bar bar_of(const Crisp__V1__PullLayer *layer, char label[TEXT_VALUE_MAX],
                                  bool over)
{
        struct progress_bar bar = {
                .label = text_short(label, layer->digest),
                .bytes = layer->bytes,
                .total = layer->total,
        };

        if (over || layer->state == CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_DONE)
                bar.done = true;
        else if (layer->state == CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_WAITING)
                bar.note = "waiting";
        else if (layer->state == CRISP__V1__PULL_LAYER_STATE__PULL_LAYER_UNPACKING)
                bar.note = "unpacking";
        return bar;
}

static void draw(struct view *view, bool over)
{
        AUTO_BUFFER struct buffer out = BUFFER_INIT, title = BUFFER_INIT;
        const Crisp__V1__Pull *pull = pull_of(view);
        size_t count = pull ? pull->n_layers : 0, columns, rows;
        AUTO_FREE struct progress_bar *bars = xcalloc(count + 1, sizeof *bars);
        AUTO_FREE char(*labels)[TEXT_VALUE_MAX] = xcalloc(count + 1, sizeof *labels);
        char span[TEXT_VALUE_MAX];

        for (size_t i = 0; i < count; i++)
                bars[i] = bar_of(pull->layers[i], labels[i], over);
        text_clean(&title, pull ? pull->reference : view->reference);
        if (over)
                buffer_add_text(&title, ": here");
        else
                buffer_printf(&title, ": %s, %s", pull ? pull->step : "asking for it",
                              text_span(span, pull ? clock_real() - pull->started_at : 0));
        terminal_size(STDOUT_FILENO, &columns, &rows);
        progress_draw(&out, title.data, bars, count, columns, rows, &view->drawn);
        fwrite(out.data, 1, out.length, stdout);
        fflush(stdout);
}

static bool is_told(const struct view *view, const char *label)
{
        for (size_t i = 0; i < view->told_count; i++)
                if (strcmp(view->told[i], label) == 0)
                        return true;
        return false;
}

/* A line for each layer that has come since. */
static void tell_layers(struct view *view, bool over)
{
        const Crisp__V1__Pull *pull = pull_of(view);
        char label[TEXT_VALUE_MAX], size[TEXT_VALUE_MAX];

        for (size_t i = 0; pull && i < pull->n_layers; i++) {
                struct progress_bar bar = bar_of(pull->layers[i], label, over);
                if (!bar.done || is_told(view, label))
                        continue;
                view->told = xrealloc(view->told, (view->told_count + 1) * sizeof *view->told);
                memcpy(view->told[view->told_count++], label, sizeof label);
                printf("%s  %s\n", label, text_size(size, bar.total));
        }
        fflush(stdout);
}

static void show(struct view *view, bool over)
{
        if (view->quiet)
                return;
        if (view->terminal)
                draw(view, over);
        else
                tell_layers(view, over);
}

/* ---- the pull ---- */

/* The newest picture; the last one that had the pull stays. False when there are none any more. */
static bool take_progress(struct view *view, struct client_call *progress)
{
        ProtobufCMessage *message = NULL;
        int result;

        while ((result = call_next(progress, clock_monotonic(), &message, NULL)) > 0) {
                Crisp__V1__PullProgressResponse *next = (Crisp__V1__PullProgressResponse *)message;
                if (next->n_pulls == 0) {
                        message_free(message);
                        continue;
                }
                if (view->latest)
                        message_free(&view->latest->base);
                view->latest = next;
        }
        return result == -EAGAIN;
}

/* Waits for the pull, and shows what becomes of it. A daemon that tells no progress is no failure.
 */
static int watch_pull(struct client *client, const Runtime__V1__PullImageRequest *request,
                      struct view *view, ProtobufCMessage **response, struct error *err)
{
        Crisp__V1__PullProgressRequest watched = CRISP__V1__PULL_PROGRESS_REQUEST__INIT;
        bool telling = !view->quiet;
        int result;

        watched.reference = request->image->image;
        AUTO_CALL struct client_call *progress = call_start(
                client, &crisp__v1__crisp__descriptor, "PullProgress", &watched.base, CLOCK_NEVER);
        AUTO_CALL struct client_call *pull =
                call_start(client, &runtime__v1__image_service__descriptor, "PullImage",
                           &request->base, CLOCK_NEVER);
        do {
                result = call_next(pull, telling ? clock_after(REDRAW_PAUSE) : CLOCK_NEVER,
                                   response, err);
                if (telling) {
                        telling = take_progress(view, progress);
                        show(view, result > 0);
                }
        } while (result == -EAGAIN);
        if (result == 0)
                return error_set(err, ERROR_INTERNAL, "PullImage: crisp gave no answer");
        return result < 0 ? result : 0;
}

/* ---- credentials ---- */

/* USER or USER:PASSWORD; a password that is missing is read or asked for into secret. */
static int user_password(const struct pull_options *options, const char *reference,
                         Runtime__V1__AuthConfig *auth, struct buffer *secret, struct error *err)
{
        const char *colon = strchr(options->credentials, ':');
        size_t user = colon ? (size_t)(colon - options->credentials) : strlen(options->credentials);
        int result = 0;

        auth->username = xstrndup(options->credentials, user);
        if (colon && options->password_stdin)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "a password is given with --creds, and another with "
                                 "--password-stdin");
        if (colon) {
                buffer_add_text(secret, colon + 1);
        } else if (options->password_stdin) {
                result = terminal_read_secret(STDIN_FILENO, secret, err);
        } else {
                AUTO_FREE char *prompt =
                        xprintf("Password of %s for %s: ", auth->username, reference);
                AUTO_BUFFER struct buffer clean = BUFFER_INIT;
                text_clean(&clean, prompt);
                result = terminal_ask_secret(clean.data, secret, err);
        }
        auth->password = secret->data;
        return result;
}

/* Fills auth; *given says whether there is anything in it. */
static int fill_credentials(const struct pull_options *options, const char *reference,
                            Runtime__V1__AuthConfig *auth, struct buffer *secret, bool *given,
                            struct error *err)
{
        struct authfile_entry entry = {0};

        *given = true;
        if (options->credentials)
                return user_password(options, reference, auth, secret, err);
        if (!options->authfile) {
                *given = false;
                return 0;
        }
        int result = authfile_find(options->authfile, reference, &entry, err);
        if (result < 0)
                return result;
        *given = entry.auth || entry.identity_token || entry.registry_token;
        if (entry.auth)
                auth->auth = entry.auth;
        if (entry.identity_token)
                auth->identity_token = entry.identity_token;
        if (entry.registry_token)
                auth->registry_token = entry.registry_token;
        return 0;
}

static void wipe_string(char **text)
{
        if (*text == protobuf_c_empty_string || !*text)
                return;
        explicit_bzero(*text, strlen(*text));
        free(*text);
        *text = NULL;
}

static void wipe_auth(Runtime__V1__AuthConfig *auth, struct buffer *secret)
{
        if (secret->data)
                explicit_bzero(secret->data, secret->capacity);
        auth->password = NULL;
        wipe_string(&auth->username);
        wipe_string(&auth->auth);
        wipe_string(&auth->identity_token);
        wipe_string(&auth->registry_token);
}

/* ---- the command ---- */

static int pull(const struct pull_options *options, const char *reference, struct error *err)
{
        AUTO_CLIENT struct client *client = NULL;
        AUTO_MESSAGE Runtime__V1__PullImageResponse *response = NULL;
        AUTO_BUFFER struct buffer secret = BUFFER_INIT;
        Runtime__V1__AuthConfig auth = RUNTIME__V1__AUTH_CONFIG__INIT;
        Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
        Runtime__V1__PullImageRequest request = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
        struct view view = {
                .reference = reference,
                .terminal = terminal_is(STDOUT_FILENO),
                .quiet = options->quiet,
        };
        bool given;
        int result = cli_connect(&options->common, &client, err);

        if (result == 0)
                result = fill_credentials(options, reference, &auth, &secret, &given, err);
        if (result == 0) {
                spec.image = (char *)(uintptr_t)reference;
                request.image = &spec;
                request.auth = given ? &auth : NULL;
                result = watch_pull(client, &request, &view, (ProtobufCMessage **)&response, err);
        }
        wipe_auth(&auth, &secret);
        if (result == 0)
                printf("%s\n", response->image_ref);
        if (view.latest)
                message_free(&view.latest->base);
        free(view.told);
        return result;
}

int images_pull(char *const *arguments)
{
        struct pull_options chosen = {0};
        const struct option options[] = {
                OPTIONS_SOCKET(chosen.common),
                {.name = "--creds", .needs = "a user", .value = &chosen.credentials},
                {.name = "--password-stdin", .flag = &chosen.password_stdin},
                {.name = "--authfile", .needs = "a file", .value = &chosen.authfile},
                {.name = "--quiet", .letter = "-q", .flag = &chosen.quiet},
                {0},
        };
        AUTO_FREE const char **words = cli_words(arguments);
        struct error err = {0};
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        if (!words[0] || words[1])
                return options_wrong("images pull needs the name of one image", "");
        if (chosen.credentials && chosen.authfile)
                return options_wrong("--creds and --authfile exclude each other", "");
        if (chosen.password_stdin && !chosen.credentials)
                return options_wrong("--password-stdin needs a user: --creds USER", "");
        if (pull(&chosen, words[0], &err) < 0)
                return cli_failed(&err);
        static const struct buffer nothing_more = BUFFER_INIT;
        return cli_print(&nothing_more);
}
