#include "image/pull.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "image/fetcher.h"

struct pull {
        struct puller *puller;
        struct pull *next; /* in puller->first while it can be joined */
        struct reference reference;
        char *text;                           /* the reference in full */
        struct fetch_credentials credentials; /* our own copies */
        char *os, *architecture, *variant;
        struct task *task;
        unsigned waiters;
        struct event done;
        bool finished;
        int result;
        struct error error;
        char *id;
        const char *step;
        int64_t since, step_since;
        struct pull_layer *layers;
        size_t layer_count;
};

struct puller {
        struct store *store;
        char *program;
        char **environment;
        unsigned parallel;
        int64_t stall, total;
        struct fetch_limits limits;
        struct pull *first;
        unsigned running;
        struct event turn;
        struct pull_counts counts;
};

struct puller *puller_new(const struct pull_options *options)
{
        struct puller *puller = xcalloc(1, sizeof(*puller));
        puller->store = options->store;
        puller->program = xstrdup(options->program);
        puller->environment = strv_dup(options->environment);
        puller->parallel = options->parallel ? options->parallel : PULL_PARALLEL_DEFAULT;
        puller->stall = options->stall ? options->stall : PULL_STALL_DEFAULT;
        puller->total = options->total ? options->total : PULL_TOTAL_DEFAULT;
        puller->limits = options->limits;
        return puller;
}

void puller_free(struct puller *puller)
{
        if (!puller)
                return;
        free(puller->program);
        strv_free(puller->environment);
        free(puller);
}

/* ---- a pull ---- */

static void set_step(struct pull *pull, const char *step)
{
        pull->step = step;
        pull->step_since = clock_real();
}

#define CREDENTIAL_COUNT 6

/* The six strings of credentials, for what is done to all of them alike. */
static void credential_list(struct fetch_credentials *credentials,
                            const char **list[CREDENTIAL_COUNT])
{
        list[0] = &credentials->username;
        list[1] = &credentials->password;
        list[2] = &credentials->auth;
        list[3] = &credentials->identity_token;
        list[4] = &credentials->registry_token;
        list[5] = &credentials->server_address;
}

static void copy_credentials(struct fetch_credentials *to, const struct fetch_credentials *from)
{
        struct fetch_credentials source = from ? *from : (struct fetch_credentials){0};
        const char **ours[CREDENTIAL_COUNT], **theirs[CREDENTIAL_COUNT];
        credential_list(to, ours);
        credential_list(&source, theirs);
        for (int i = 0; i < CREDENTIAL_COUNT; i++)
                *ours[i] = xstrdup(*theirs[i]);
}

static void wipe_credentials(struct fetch_credentials *credentials)
{
        const char **list[CREDENTIAL_COUNT];
        credential_list(credentials, list);
        for (int i = 0; i < CREDENTIAL_COUNT; i++) {
                char *text = (char *)(uintptr_t)*list[i];
                request_wipe_text(text);
                free(text);
                *list[i] = NULL;
        }
}

static bool same_text(const char *a, const char *b)
{
        return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_credentials(const struct fetch_credentials *a, const struct fetch_credentials *b)
{
        struct fetch_credentials first = *a;
        struct fetch_credentials second = b ? *b : (struct fetch_credentials){0};
        const char **ones[CREDENTIAL_COUNT], **others[CREDENTIAL_COUNT];
        credential_list(&first, ones);
        credential_list(&second, others);
        for (int i = 0; i < CREDENTIAL_COUNT; i++)
                if (!same_text(*ones[i], *others[i]))
                        return false;
        return true;
}

static struct pull *pull_new(struct puller *puller, const struct reference *reference,
                             const struct pull_request *request)
{
        struct pull *pull = xcalloc(1, sizeof(*pull));
        pull->puller = puller;
        pull->reference = *reference;
        pull->text = reference_text(reference);
        copy_credentials(&pull->credentials, request->credentials);
        pull->os = xstrdup(request->os);
        pull->architecture = xstrdup(request->architecture);
        pull->variant = xstrdup(request->variant);
        pull->layers = xcalloc(PULL_LAYERS_SHOWN, sizeof(*pull->layers));
        set_step(pull, "starting");
        pull->since = pull->step_since;
        return pull;
}

static void pull_free(struct pull *pull)
{
        wipe_credentials(&pull->credentials);
        free(pull->text);
        free(pull->os);
        free(pull->architecture);
        free(pull->variant);
        free(pull->layers);
        free(pull->id);
        free(pull);
}

/* Nobody can join it or see it any more. */
static void unlist(struct pull *pull)
{
        for (struct pull **slot = &pull->puller->first; *slot; slot = &(*slot)->next)
                if (*slot == pull) {
                        *slot = pull->next;
                        return;
                }
}

static struct pull *find_pull(struct puller *puller, const char *text,
                              const struct pull_request *request)
{
        for (struct pull *pull = puller->first; pull; pull = pull->next)
                if (strcmp(pull->text, text) == 0 && same_text(pull->os, request->os) &&
                    same_text(pull->architecture, request->architecture) &&
                    same_text(pull->variant, request->variant) &&
                    same_credentials(&pull->credentials, request->credentials))
                        return pull;
        return NULL;
}

static void on_progress(void *argument, const struct fetch_progress *progress)
{
        struct pull *pull = argument;
        struct pull_layer *layer = NULL;
        if (!digest_is_valid(progress->digest))
                return;
        for (size_t i = 0; i < pull->layer_count && !layer; i++)
                if (strcmp(pull->layers[i].digest, progress->digest) == 0)
                        layer = &pull->layers[i];
        if (!layer && pull->layer_count == PULL_LAYERS_SHOWN) {
                if (progress->done)
                        pull->puller->counts.bytes += (uint64_t)progress->total;
                return;
        }
        if (!layer) {
                layer = &pull->layers[pull->layer_count++];
                snprintf(layer->digest, sizeof(layer->digest), "%s", progress->digest);
        }
        if (progress->bytes > layer->bytes)
                pull->puller->counts.bytes += (uint64_t)(progress->bytes - layer->bytes);
        layer->bytes = progress->bytes;
        layer->total = progress->total;
        layer->done = progress->done;
}

static int take_turn(struct pull *pull, struct error *err)
{
        struct puller *puller = pull->puller;
        if (puller->running >= puller->parallel) {
                puller->counts.queued++;
                set_step(pull, "waiting for a turn");
        }
        while (puller->running >= puller->parallel)
                if (task_wait(&puller->turn, CLOCK_NEVER) < 0)
                        return error_set(err, ERROR_CANCELLED, "nobody waits for it any more");
        puller->running++;
        return 0;
}

/* Fills a staging folder and stores what is in it. */
static int fetch(struct pull *pull, char *staging, bool *ended, struct error *err)
{
        struct puller *puller = pull->puller;
        AUTO_STORE_HOLD struct store_hold *hold = store_hold_new(puller->store);
        AUTO_ARENA struct arena *arena = NULL;
        struct fetch_result result;
        struct fetch_request request = {
                .reference = pull->text,
                .credentials = pull->credentials,
                .os = pull->os,
                .architecture = pull->architecture,
                .variant = pull->variant,
                .staging = staging,
                .limits = puller->limits,
        };
        struct fetcher_options options = {
                .program = puller->program,
                .environment = puller->environment,
                .stall = puller->stall,
                .deadline = clock_after(puller->total),
                .on_progress = on_progress,
                .argument = pull,
        };
        request.present = store_hold_diff_ids(hold, &request.present_count);
        set_step(pull, "downloading");
        int r = fetcher_run(&options, &request, &arena, &result, ended, err);
        if (r < 0)
                return r;
        set_step(pull, "storing");
        return store_commit(puller->store, &pull->reference, staging, &result, &pull->id, err);
}

static int run(struct pull *pull, struct error *err)
{
        char *staging = NULL;
        bool ended = true;
        task_set_interruptible(true);
        int result = take_turn(pull, err);
        if (result < 0)
                return result;
        result = store_stage(pull->puller->store, &staging, err);
        if (result == 0)
                result = fetch(pull, staging, &ended, err);
        if (ended) {
                store_unstage(pull->puller->store, staging);
        } else {
                /* Somebody who cannot be killed may still write there: the next start removes it.
                 */
                log_warning("crisp-image does not end: its folder is left", "folder", staging,
                            NULL);
                free(staging);
        }
        pull->puller->running--;
        event_signal(&pull->puller->turn);
        return result;
}

static void count_end(struct pull *pull)
{
        struct pull_counts *counts = &pull->puller->counts;
        if (pull->result == 0)
                counts->succeeded++;
        else if (pull->result == -ECANCELED)
                counts->cancelled++;
        else
                counts->failed++;
}

static void pull_task(void *argument)
{
        struct pull *pull = argument;
        pull->result = run(pull, &pull->error);
        if (pull->result < 0) {
                error_context(&pull->error, "pull %s", pull->text);
                if (pull->result == -ECANCELED)
                        log_info("image is not pulled: nobody waits for it any more", "image",
                                 pull->text, NULL);
                else
                        log_failure(&pull->error, "image could not be pulled", "image", pull->text,
                                    NULL);
        } else {
                log_info("image is pulled", "image", pull->text, "id", pull->id, NULL);
        }
        count_end(pull);
        unlist(pull);
        pull->finished = true;
        event_signal(&pull->done);
        if (pull->waiters == 0)
                pull_free(pull);
}

/* ---- those who want it ---- */

static int await(struct pull *pull, char **id, struct error *err)
{
        bool was = task_set_interruptible(true);
        int waited = 0;
        pull->waiters++;
        while (!pull->finished && waited == 0)
                waited = task_wait(&pull->done, CLOCK_NEVER);
        pull->waiters--;
        task_set_interruptible(was);

        int result;
        if (!pull->finished) {
                result = error_set(err, ERROR_CANCELLED, "pull %s: given up by its caller",
                                   pull->text);
                if (pull->waiters == 0) {
                        /* The next one who asks starts anew instead of joining what is being ended.
                         */
                        unlist(pull);
                        task_interrupt(pull->task);
                }
                return result;
        }
        result = pull->result;
        if (result == 0)
                *id = xstrdup(pull->id);
        else if (err)
                *err = pull->error;
        if (pull->waiters == 0)
                pull_free(pull);
        return result;
}

int pull_image(struct puller *puller, const struct pull_request *request, char **id,
               struct error *err)
{
        struct reference reference;
        int result = reference_parse(request->reference, &reference, err);
        if (result < 0)
                return result;
        AUTO_FREE char *text = reference_text(&reference);
        struct pull *pull = find_pull(puller, text, request);
        if (pull) {
                puller->counts.joined++;
        } else {
                puller->counts.started++;
                pull = pull_new(puller, &reference, request);
                pull->next = puller->first;
                puller->first = pull;
                pull->task = task_start("pull image", pull_task, pull);
        }
        return await(pull, id, err);
}

/* ---- what is under way ---- */

bool pull_next(const struct puller *puller, size_t *cursor, struct pull_progress *progress)
{
        const struct pull *pull = puller->first;
        for (size_t i = 0; pull && i < *cursor; i++)
                pull = pull->next;
        if (!pull)
                return false;
        (*cursor)++;
        *progress = (struct pull_progress){
                .reference = pull->text,
                .step = pull->step,
                .since = pull->since,
                .step_since = pull->step_since,
                .waiters = pull->waiters,
                .layers = pull->layers,
                .layer_count = pull->layer_count,
        };
        return true;
}

void pull_counts(const struct puller *puller, struct pull_counts *counts)
{
        *counts = puller->counts;
}
