/* crisp images load, save, check, verify, repair: the daemon's work on images, watched. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/memory.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"

struct work_view {
        bool passes;   /* are told too */
        bool terminal; /* progress has a bar */
        size_t drawn;
};

/* ---- what is shown ---- */

static void draw(struct work_view *view, const Crisp__V1__ImageWorkProgress *progress,
                 struct buffer *out)
{
        AUTO_BUFFER struct buffer title = BUFFER_INIT;
        char label[TEXT_VALUE_MAX];
        size_t columns, rows;
        const char *space = strchr(progress->object, ' ');
        struct progress_bar bar = {
                .label = text_short(label, space ? space + 1 : progress->object),
                .bytes = progress->bytes,
                .total = progress->total,
        };

        text_clean(&title, progress->object);
        if (progress->count)
                buffer_printf(&title, ": %" PRIu64 " of %" PRIu64 " done", progress->done,
                              progress->count);
        terminal_size(STDOUT_FILENO, &columns, &rows);
        progress_draw(out, title.data ? title.data : "", &bar, progress->bytes > 0, columns, rows,
                      &view->drawn);
}

static void show(struct work_view *view, const Crisp__V1__ImageWorkResponse *news)
{
        AUTO_BUFFER struct buffer out = BUFFER_INIT;

        progress_erase(&out, &view->drawn);
        for (size_t i = 0; i < news->n_findings; i++)
                if (view->passes ||
                    news->findings[i]->verdict != CRISP__V1__FINDING_VERDICT__FINDING_PASS)
                        cli_add_finding(news->findings[i], &out);
        if (view->terminal && news->progress && !news->summary)
                draw(view, news->progress, &out);
        if (out.length)
                fwrite(out.data, 1, out.length, stdout);
        fflush(stdout);
}

static void tell_summary(const Crisp__V1__ImageWorkSummary *summary)
{
        printf("%" PRIu64 " looked at: %" PRIu64 " passed, %" PRIu64 " with warnings, %" PRIu64
               " failed\n",
               summary->objects, summary->passed, summary->warned, summary->failed);
        if (summary->unsaid)
                printf("%" PRIu64 " further failures are not listed\n", summary->unsaid);
}

static void tell_loaded(const Crisp__V1__ImageWorkResponse *end)
{
        AUTO_BUFFER struct buffer out = BUFFER_INIT;

        for (size_t i = 0; i < end->n_loaded; i++) {
                text_clean(&out, end->loaded[i]->id);
                for (size_t k = 0; k < end->loaded[i]->n_names; k++) {
                        buffer_add_text(&out, "  ");
                        text_clean(&out, end->loaded[i]->names[k]);
                }
                buffer_add_text(&out, "\n");
        }
        if (out.length)
                fwrite(out.data, 1, out.length, stdout);
}

/* ---- a call ---- */

enum outcome { OUTCOME_NONE, OUTCOME_LOADED, OUTCOME_SUMMARY };

/* The end of a call's stream; the exit code. */
static int tell_end(const Crisp__V1__ImageWorkResponse *end, enum outcome outcome)
{
        static const struct buffer nothing_more = BUFFER_INIT;

        if (outcome == OUTCOME_LOADED)
                tell_loaded(end);
        if (outcome == OUTCOME_SUMMARY)
                tell_summary(end->summary);
        int code = cli_print(&nothing_more);
        return end->summary->failed ? EXIT_FAILURE : code;
}

/* Makes the call, shows what it tells, and gives the exit code. */
static int run(const struct options_common *common, const char *method,
               const ProtobufCMessage *request, bool passes, enum outcome outcome)
{
        AUTO_CLIENT struct client *client = NULL;
        AUTO_CALL struct client_call *call = NULL;
        struct work_view view = {.passes = passes, .terminal = terminal_is(STDOUT_FILENO)};
        ProtobufCMessage *message = NULL;
        struct error err = {0};
        int code = -1;

        if (cli_connect(common, &client, &err) < 0)
                return cli_failed(&err);
        call = call_start(client, &crisp__v1__crisp__descriptor, method, request, CLOCK_NEVER);
        int result;
        while ((result = call_next(call, CLOCK_NEVER, &message, &err)) > 0) {
                const Crisp__V1__ImageWorkResponse *news =
                        (const Crisp__V1__ImageWorkResponse *)message;
                show(&view, news);
                if (news->summary)
                        code = tell_end(news, outcome);
                message_free(message);
        }
        if (result == 0 && code < 0)
                result = error_set(&err, ERROR_INTERNAL, "%s: crisp did not say how it ended",
                                   method);
        return result < 0 ? cli_failed(&err) : code;
}

/* ---- paths ---- */

/* What is no name of an image: it begins with "/", "./" or "../", or is "-". */
static bool is_path(const char *word)
{
        return word[0] == '/' || strncmp(word, "./", 2) == 0 || strncmp(word, "../", 3) == 0 ||
               strcmp(word, ".") == 0 || strcmp(word, "..") == 0 || strcmp(word, "-") == 0;
}

/*
 * The path as the daemon can open it: absolute, or our standard input as this machine knows it. On
 * the heap; null after telling what is wrong.
 */
static char *daemon_path(const char *path)
{
        char here[PATH_MAX];

        if (strcmp(path, "-") == 0 && isatty(STDIN_FILENO)) {
                options_wrong("standard input is a terminal, not an archive", "");
                return NULL;
        }
        if (strcmp(path, "-") == 0)
                return xprintf("/proc/%d/fd/%d", (int)getpid(), STDIN_FILENO);
        if (path[0] == '/')
                return xstrdup(path);
        if (!getcwd(here, sizeof here)) {
                options_wrong("the current folder has no name: ", strerror(errno));
                return NULL;
        }
        return xprintf("%s/%s", here, path);
}

/* ---- load ---- */

int images_load(char *const *arguments)
{
        struct options_common common = {0};
        const char *name = NULL;
        const struct option options[] = {
                OPTIONS_SOCKET(common), {.name = "--name", .needs = "a name", .value = &name}, {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        Crisp__V1__ImageLoadRequest request = CRISP__V1__IMAGE_LOAD_REQUEST__INIT;
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        if (!words[0] || words[1] || !*words[0])
                return options_wrong("images load needs one file or folder, or -", "");
        AUTO_FREE char *path = daemon_path(words[0]);
        if (!path)
                return OPTIONS_EXIT_USAGE;
        request.path = path;
        if (name)
                request.name = (char *)(uintptr_t)name;
        return run(&common, "ImageLoad", &request.base, true, OUTCOME_LOADED);
}

/* ---- save ---- */

static const struct {
        const char *name;
        Crisp__V1__ImageFormat format;
} formats[] = {
        {"oci", CRISP__V1__IMAGE_FORMAT__IMAGE_FORMAT_OCI_ARCHIVE},
        {"oci-dir", CRISP__V1__IMAGE_FORMAT__IMAGE_FORMAT_OCI_FOLDER},
        {"docker", CRISP__V1__IMAGE_FORMAT__IMAGE_FORMAT_DOCKER_ARCHIVE},
};

static const struct {
        const char *name;
        Crisp__V1__ImageCompression compression;
} compressions[] = {
        {"none", CRISP__V1__IMAGE_COMPRESSION__IMAGE_COMPRESSION_NONE},
        {"gzip", CRISP__V1__IMAGE_COMPRESSION__IMAGE_COMPRESSION_GZIP},
        {"zstd", CRISP__V1__IMAGE_COMPRESSION__IMAGE_COMPRESSION_ZSTD},
};

/* An archive, or a folder where there is one already. OCI's layers are compressed, docker's not. */
static int choose_form(const char *format, const char *compression, const char *path,
                       Crisp__V1__ImageSaveRequest *request)
{
        struct stat status;
        size_t form = 0, packed = 0, count = sizeof formats / sizeof *formats;

        if (!format)
                format = stat(path, &status) == 0 && S_ISDIR(status.st_mode) ? "oci-dir" : "oci";
        if (!compression)
                compression = strcmp(format, "docker") == 0 ? "none" : "gzip";
        while (form < count && strcmp(formats[form].name, format) != 0)
                form++;
        if (form == count)
                return options_wrong("--format is oci, oci-dir or docker, not ", format);
        count = sizeof compressions / sizeof *compressions;
        while (packed < count && strcmp(compressions[packed].name, compression) != 0)
                packed++;
        if (packed == count)
                return options_wrong("--compression is none, gzip or zstd, not ", compression);
        request->format = formats[form].format;
        request->compression = compressions[packed].compression;
        return 0;
}

int images_save(char *const *arguments)
{
        struct options_common common = {0};
        const char *output = NULL, *format = NULL, *compression = NULL;
        const struct option options[] = {
                OPTIONS_SOCKET(common),
                {.name = "--output", .letter = "-o", .needs = "a file or folder", .value = &output},
                {.name = "--format", .needs = "a format", .value = &format},
                {.name = "--compression", .needs = "a compression", .value = &compression},
                {0},
        };
        AUTO_FREE const char **words = cli_words(arguments);
        Crisp__V1__ImageSaveRequest request = CRISP__V1__IMAGE_SAVE_REQUEST__INIT;
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        if (!words[0])
                return options_wrong("images save needs the name of an image", "");
        if (!output || strcmp(output, "-") == 0)
                return options_wrong("images save needs a file or folder: -o PATH", "");
        code = choose_form(format, compression, output, &request);
        if (code != 0)
                return code;
        AUTO_FREE char *path = daemon_path(output);
        if (!path)
                return OPTIONS_EXIT_USAGE;
        request.path = path;
        request.images = (char **)(uintptr_t)words;
        while (words[request.n_images])
                request.n_images++;
        return run(&common, "ImageSave", &request.base, true, OUTCOME_NONE);
}

/* ---- check ---- */

int images_check(char *const *arguments)
{
        struct options_common common = {0};
        const struct option options[] = {OPTIONS_SOCKET(common), {0}};
        AUTO_FREE const char **words = cli_words(arguments);
        AUTO_FREE char *path = NULL;
        Crisp__V1__ImageCheckRequest request = CRISP__V1__IMAGE_CHECK_REQUEST__INIT;
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        if (!words[0] || words[1] || !*words[0])
                return options_wrong("images check needs one image, file or folder", "");
        if (is_path(words[0])) {
                path = daemon_path(words[0]);
                if (!path)
                        return OPTIONS_EXIT_USAGE;
                request.path = path;
        } else {
                request.reference = (char *)(uintptr_t)words[0];
        }
        return run(&common, "ImageCheck", &request.base, true, OUTCOME_SUMMARY);
}

/* ---- verify, repair ---- */

static int look(char *const *arguments, const char *method, Crisp__V1__ImageVerifyRequest *request)
{
        struct options_common common = {0};
        bool verbose = false;
        const struct option options[] = {
                OPTIONS_SOCKET(common),
                {.name = "--verbose", .letter = "-v", .flag = &verbose},
                {0},
        };
        AUTO_FREE const char **words = cli_words(arguments);
        int code = options_read(arguments, options, words);

        if (code != 0)
                return code;
        request->images = (char **)(uintptr_t)words;
        while (words[request->n_images])
                request->n_images++;
        return run(&common, method, &request->base, verbose, OUTCOME_SUMMARY);
}

int images_verify(char *const *arguments)
{
        Crisp__V1__ImageVerifyRequest request = CRISP__V1__IMAGE_VERIFY_REQUEST__INIT;

        return look(arguments, "ImageVerify", &request);
}

/* Its request has the fields of a verification's, by number and type. */
int images_repair(char *const *arguments)
{
        Crisp__V1__ImageVerifyRequest request = CRISP__V1__IMAGE_VERIFY_REQUEST__INIT;

        return look(arguments, "ImageRepair", &request);
}
