#include "image/verifier.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "image/trust.h"

#define MEDIA_TYPE "application/vnd.oci.descriptor.v1+json"
#define WORDS_MAX  512 /* bytes of a program's stdout that an error gives */
#define ERRORS_MAX 4096
#define FILES_MAX  4096 /* entries of the folder that are looked at */

/* ---- the folder ---- */

struct list_job {
        const char *directory;
        char **names; /* sorted */
        struct error *err;
};

static int by_name(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_work(void *argument)
{
        struct list_job *job = argument;
        DIR *folder = opendir(job->directory);
        const struct dirent *entry = NULL;
        size_t looked_at = 0;
        if (!folder)
                return error_errno(job->err, errno, "verifiers: open folder %s", job->directory);
        /* Names with a dot are what mounts of configurations leave beside the files. */
        while (strv_length(job->names) <= VERIFIERS_MAX && looked_at++ < FILES_MAX) {
                errno = 0;
                entry = readdir(folder);
                if (!entry)
                        break;
                if (entry->d_name[0] != '.')
                        strv_push(&job->names, entry->d_name);
        }
        int number = entry ? 0 : errno;
        closedir(folder);
        if (number)
                return error_errno(job->err, number, "verifiers: read folder %s", job->directory);
        if (entry)
                return error_set(job->err, ERROR_FAILED_PRECONDITION,
                                 "verifiers: folder %s has more than %d programs: an image that "
                                 "some of them did not see is not let in",
                                 job->directory, VERIFIERS_MAX);
        if (job->names)
                qsort(job->names, strv_length(job->names), sizeof(*job->names), by_name);
        return 0;
}

/* ---- a program ---- */

/* For people: one line of printable characters. */
static char *words_of(const struct process_run *run)
{
        size_t length = run->output.length < WORDS_MAX ? run->output.length : WORDS_MAX;
        char *text = xstrndup(run->output.data ? run->output.data : "", length);
        for (char *c = text; *c; c++)
                if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
                        *c = ' ';
        while (length > 0 && strlen(text) == length && text[length - 1] == ' ')
                text[--length] = '\0';
        return text;
}

static int judge(const struct process_run *run, const char *path, struct error *err)
{
        AUTO_FREE char *words = words_of(run);
        const char *cut = run->output_cut ? "..." : "";
        if (run->errors.length > 0)
                log_debug("verifier", "program", path, "says", run->errors.data, NULL);
        if (WIFEXITED(run->status) && WEXITSTATUS(run->status) == 0) {
                log_info("image may be pulled", "verifier", path, "says", words, NULL);
                return 0;
        }
        if (WIFEXITED(run->status))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "verifier %s refuses the image (exit status %d): %s%s", path,
                                 WEXITSTATUS(run->status), *words ? words : "it does not say why",
                                 cut);
        return error_set(err, ERROR_FAILED_PRECONDITION, "verifier %s was killed by signal %d: %s",
                         path, WTERMSIG(run->status), words);
}

static int run_one(const struct verifier_options *options, const struct verifier_subject *subject,
                   const char *name, const char *input, struct error *err)
{
        int64_t timeout = options->timeout ? options->timeout : VERIFIER_TIMEOUT_DEFAULT;
        AUTO_FREE char *path = xprintf("%s/%s", options->directory, name);
        const char *const arguments[] = {
                path,       "-name", subject->name, "-digest", subject->digest, "-stdin-media-type",
                MEDIA_TYPE, NULL,
        };
        char *environment[] = {
                (char *)(uintptr_t) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:"
                                    "/bin",
                NULL};
        struct process_options child = PROCESS_OPTIONS_INIT;
        struct process_run run = {.input = input,
                                  .input_length = strlen(input),
                                  .output_max = WORDS_MAX,
                                  .errors_max = ERRORS_MAX,
                                  .deadline = clock_after(timeout),
                                  .interruptible = true};
        child.path = path;
        child.argv = (char *const *)(uintptr_t)arguments;
        child.environment = environment;
        int result = process_run(&child, &run, err);
        if (result == 0)
                result = judge(&run, path, err);
        else if (result == -ETIMEDOUT)
                error_set(err, ERROR_FAILED_PRECONDITION,
                          "verifier %s did not come to an end within %lld s", path,
                          (long long)(timeout / NSEC_PER_SEC));
        else if (result != -ECANCELED)
                error_context(err, "verifier %s cannot be run", path);
        process_run_fini(&run);
        return result;
}

int verifier_check(const struct verifier_options *options, const struct verifier_subject *subject,
                   struct error *err)
{
        struct list_job job = {.directory = options->directory, .err = err};
        if (!options->directory || !*options->directory)
                return 0;
        AUTO_JSON json_t *descriptor = json_object();
        json_object_set_new(descriptor, "mediaType", json_string(subject->media_type));
        json_object_set_new(descriptor, "digest", json_string(subject->digest));
        json_object_set_new(descriptor, "size", json_integer((json_int_t)subject->size));
        AUTO_FREE char *input = json_text(descriptor);

        int result = task_offload(list_work, &job);
        for (char **name = job.names; result == 0 && name && *name; name++)
                result = run_one(options, subject, *name, input, err);
        strv_free(job.names);
        if (result == 0 || result == -ECANCELED)
                return result;
        return error_word(err, TRUST_WORD);
}
