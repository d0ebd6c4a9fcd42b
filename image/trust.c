#include "image/trust.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process.h"
#include "base/task.h"
#include "image/line.h"
#include "image/trust_private.h"
#include "image/verification.h"

#define VERDICTS_MAX     4096
#define VERDICT_AGE      (600 * NSEC_PER_SEC) /* then keys and signatures may have expired */
#define VERIFY_TIME      (60 * NSEC_PER_SEC)
#define VERIFY_ERRORS    4096 /* bytes kept of crisp-trust's stderr */
#define NAMES_TRIED_MAX  16   /* of an image that was asked for by its ID */
#define LOOKASIDE_SCHEME "file://"

struct trust *trust_new(const struct trust_options *options)
{
        struct trust *trust = xcalloc(1, sizeof(*trust));
        trust->policy = xstrdup(options->policy);
        trust->policy_dir = xstrdup(options->policy_dir);
        trust->registries_d = xstrdup(options->registries_d);
        trust->program = xstrdup(options->program);
        trust->verdicts = table_new();
        return trust;
}

static void forget_verdicts(struct trust *trust)
{
        size_t cursor = 0;
        int64_t *when;
        while ((when = table_next(trust->verdicts, &cursor, NULL)))
                free(when);
        table_free(trust->verdicts);
        trust->verdicts = table_new();
}

void trust_free(struct trust *trust)
{
        if (!trust)
                return;
        forget_verdicts(trust);
        table_free(trust->verdicts);
        free(trust->policy);
        free(trust->policy_dir);
        free(trust->registries_d);
        free(trust->program);
        free(trust);
}

int trust_plan(const struct trust *trust, const struct reference *reference, const char *space,
               struct arena *arena, struct trust_plan *plan, struct error *err)
{
        struct trust_job job = {.trust = trust,
                                .reference = reference,
                                .space = space,
                                .arena = arena,
                                .plan = plan,
                                .err = err};
        *plan = (struct trust_plan){.fingerprint = "", .scope = ""};
        return trust ? task_offload(trust_plan_work, &job) : 0;
}

/* ---- verdicts ---- */

static bool was_accepted(const struct trust *trust, const char *hex)
{
        const int64_t *when = table_get(trust->verdicts, hex);
        return when && clock_monotonic() - *when < VERDICT_AGE;
}

static void note_accepted(struct trust *trust, const char *hex)
{
        if (table_size(trust->verdicts) >= VERDICTS_MAX)
                forget_verdicts(trust);
        int64_t *when = xcalloc(1, sizeof(*when));
        *when = clock_monotonic();
        free(table_put(trust->verdicts, hex, when));
}

struct question {
        const struct trust_plan *plan;
        const struct reference *reference;
        const struct trust_subject *subject;
        const struct signatures *signatures;
        char *line;
        char hex[SHA256_HEX + 1];
};

static int encode_work(void *argument)
{
        struct question *question = argument;
        question->line =
                verification_encode(question->reference, question->subject->manifest_digest,
                                    question->subject->index_digest, question->plan->requirements,
                                    question->signatures);
        sha256_hex(question->line, strlen(question->line), question->hex);
        return 0;
}

/* Errors that are no verdict. */
static int run_program(const struct trust *trust, const char *line, bool *accepted,
                       struct error *err)
{
        char *argv[] = {(char *)(uintptr_t) "crisp-trust", NULL};
        char *environment[] = {(char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL};
        struct process_options child = PROCESS_OPTIONS_INIT;
        struct process_run run = {.input = line,
                                  .input_length = strlen(line),
                                  .output_max = VERIFICATION_REPLY_MAX,
                                  .errors_max = VERIFY_ERRORS,
                                  .deadline = clock_after(VERIFY_TIME),
                                  .interruptible = true};
        child.path = trust->program;
        child.argv = argv;
        child.environment = environment;

        log_debug("crisp-trust verifies signatures", NULL);
        int r = process_run(&child, &run, err);
        if (r == 0)
                r = process_check(&run, "crisp-trust", err);
        if (r == 0) {
                r = verification_decode_reply(run.output.data ? run.output.data : "",
                                              run.output.length, err);
                *accepted = r == 0;
        }
        process_run_fini(&run);
        return r;
}

int trust_verify(struct trust *trust, const struct trust_plan *plan,
                 const struct reference *reference, const struct trust_subject *subject,
                 const struct signatures *signatures, struct error *err)
{
        struct question question = {
                .plan = plan, .reference = reference, .subject = subject, .signatures = signatures};
        bool accepted = false;
        int r = 0;

        if (!plan->needed)
                return 0;
        task_offload(encode_work, &question);
        if (!was_accepted(trust, question.hex)) {
                r = run_program(trust, question.line, &accepted, err);
                if (accepted)
                        note_accepted(trust, question.hex);
        }
        free(question.line);
        if (r >= 0 || r == -ECANCELED)
                return r;
        error_context(err, "%s", plan->scope);
        return error_word(err, TRUST_WORD);
}

void trust_say_where(const struct trust_plan *plan, struct error *err)
{
        error_context(err, "nothing is signed at %s, and %s",
                      plan->lookaside ? plan->lookaside : "a lookaside, for none is configured",
                      plan->attachments ? "nothing attached to it"
                                        : "attachments are not looked for (registries.d)");
}

/* ---- signatures of this machine ---- */

struct lookaside_job {
        const struct trust_plan *plan;
        const struct trust_subject *subject;
        struct arena *arena;
        struct signatures *signatures;
        struct error *err;
};

static int read_signature(const char *path, struct arena *arena, struct signature *signature,
                          struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        int r = file_read(path, SIGNATURE_BYTES_MAX, &bytes, err);
        if (r < 0)
                return r;
        *signature = (struct signature){
                .kind = SIGNATURE_SIMPLE,
                .source = arena_strdup(arena, path),
                .bytes = arena_memdup(arena, bytes.data ? bytes.data : "", bytes.length + 1),
                .length = bytes.length,
        };
        return 0;
}

static int read_folder(struct lookaside_job *job, const char *digest, struct signature *list,
                       size_t *count)
{
        const char *base = job->plan->lookaside + strlen(LOOKASIDE_SCHEME);
        size_t colon = strcspn(digest, ":");

        for (size_t i = 1; *count < SIGNATURES_MAX; i++) {
                AUTO_FREE char *path = xprintf("%s@%.*s=%s/signature-%zu", base, (int)colon, digest,
                                               digest + colon + 1, i);
                int r = read_signature(path, job->arena, &list[*count], job->err);
                if (r == -ENOENT || r == -ENOTDIR)
                        return 0;
                if (r < 0)
                        return error_context(job->err, "signatures");
                (*count)++;
        }
        return 0;
}

static int lookaside_work(void *argument)
{
        struct lookaside_job *job = argument;
        const struct trust_subject *subject = job->subject;
        struct signature *list = arena_array(job->arena, SIGNATURES_MAX, sizeof(*list));
        size_t count = 0;

        int r = read_folder(job, subject->manifest_digest, list, &count);
        if (r == 0 && subject->index_digest)
                r = read_folder(job, subject->index_digest, list, &count);
        if (r < 0)
                return error_word(job->err, TRUST_WORD);
        signatures_merge(job->signatures, &(struct signatures){list, count}, job->arena,
                         job->signatures);
        return 0;
}

int trust_read_lookaside(const struct trust_plan *plan, const struct trust_subject *subject,
                         struct arena *arena, struct signatures *signatures, struct error *err)
{
        struct lookaside_job job = {plan, subject, arena, signatures, err};
        if (!plan->lookaside ||
            strncmp(plan->lookaside, LOOKASIDE_SCHEME, strlen(LOOKASIDE_SCHEME)) != 0)
                return 0;
        return task_offload(lookaside_work, &job);
}

/* ---- an image that is here ---- */

struct stored_job {
        const char *path;
        struct arena *arena;
        const char *index_digest;
        struct signatures signatures;
        struct error *err;
};

static int stored_work(void *argument)
{
        struct stored_job *job = argument;
        return trust_read_stored(job->path, job->arena, &job->index_digest, &job->signatures,
                                 job->err);
}

/* By one name, or by none. */
static int check_name(struct trust *trust, const char *stored, const char *manifest_digest,
                      const struct reference *reference, const char *space, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct trust_plan plan;
        struct stored_job job = {.path = stored, .arena = arena, .err = err};

        int r = trust_plan(trust, reference, space, arena, &plan, err);
        if (r < 0 || !plan.needed)
                return r;
        if (!reference) {
                error_set(err, ERROR_FAILED_PRECONDITION,
                          "%s: a signature is needed, and the image has no name any more that one "
                          "could be for: pull it again",
                          plan.scope);
                return error_word(err, TRUST_WORD);
        }
        r = task_offload(stored_work, &job);
        if (r < 0)
                return error_word(err, TRUST_WORD);
        struct trust_subject subject = {manifest_digest, job.index_digest};
        r = trust_verify(trust, &plan, reference, &subject, &job.signatures, err);
        if (r < 0 && r != -ECANCELED && job.signatures.count == 0)
                error_context(err, "no signatures were kept with the image: pull it again");
        return r;
}

/* Names that the image has, as the store's vectors say them. */
static char **names_of(const struct image *image, const char *asked)
{
        char **names = NULL;
        struct reference reference;
        char *const *lists[] = {image->tags, image->digests};
        AUTO_FREE char *text =
                asked && !digest_is_valid(asked) && reference_parse(asked, &reference, NULL) == 0
                        ? reference_text(&reference)
                        : NULL;
        for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
                for (char *const *name = lists[i]; name && *name; name++) {
                        if (text && strcmp(*name, text) == 0) {
                                strv_free(names);
                                names = NULL;
                                strv_push(&names, *name);
                                return names;
                        }
                        if (strv_length(names) < NAMES_TRIED_MAX)
                                strv_push(&names, *name);
                }
        return names;
}

int trust_check_image(struct trust *trust, struct store *store, const char *id, const char *name,
                      const char *space, struct error *err)
{
        const struct image *image = trust ? store_find(store, id) : NULL;
        if (!trust)
                return 0;
        if (!image)
                return error_set(err, ERROR_NOT_FOUND, "image %s is not here any more", id);
        AUTO_FREE char *manifest_digest = xstrdup(image->manifest_digest);
        AUTO_FREE char *stored = store_signatures_path(store, manifest_digest);
        char **names = names_of(image, name);
        int r = 0;

        if (!names)
                r = check_name(trust, stored, manifest_digest, NULL, space, err);
        for (char **each = names; each && *each; each++) {
                struct reference reference;
                r = reference_parse(*each, &reference, err);
                if (r == 0)
                        r = check_name(trust, stored, manifest_digest, &reference, space, err);
                if (r == 0 || r == -ECANCELED)
                        break;
                error_context(err, "image %s", *each);
        }
        strv_free(names);
        return r;
}
