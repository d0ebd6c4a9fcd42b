#include "image/pull.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "image/fetcher.h"
#include "image/trust.h"

struct pull {
        struct puller *puller;
        struct pull *next;            /* in puller->first while it can be joined */
        struct reference *candidates; /* what the name may stand for; tried in this order */
        size_t candidate_count;
        char *text;  /* the candidates in full */
        char *asked; /* the name as the first who wants it gave it */
        struct credentials *credentials;
        char *os, *architecture, *variant;
        char *space;
        char *user_specified, *runtime_handler; /* likewise */
        char *trusted; /* what the policy asks of the candidates: who must have more does not join
                        */
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
        struct sources *sources;
        struct credentials_options credentials;
        struct trust *trust;
        char *program;
        char *decryption_keys; /* or null */
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
        puller->sources = options->sources;
        puller->credentials = options->credentials;
        puller->trust = options->trust;
        puller->program = xstrdup(options->program);
        puller->decryption_keys = xstrdup(options->decryption_keys);
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
        free(puller->decryption_keys);
        strv_free(puller->environment);
        free(puller);
}

/* ---- a pull ---- */

static void set_step(struct pull *pull, const char *step)
{
        pull->step = step;
        pull->step_since = clock_real();
}

static bool same_text(const char *a, const char *b)
{
        return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Takes candidates, text and credentials. */
static struct pull *pull_new(struct puller *puller, struct reference *candidates, size_t count,
                             char *text, struct credentials *credentials,
                             const struct pull_request *request)
{
        struct pull *pull = xcalloc(1, sizeof(*pull));
        pull->puller = puller;
        pull->candidates = candidates;
        pull->candidate_count = count;
        pull->text = text;
        pull->asked = xstrdup(request->reference);
        pull->credentials = credentials;
        pull->os = xstrdup(request->os);
        pull->architecture = xstrdup(request->architecture);
        pull->variant = xstrdup(request->variant);
        pull->space = xstrdup(request->namespace_);
        pull->user_specified = xstrdup(request->user_specified);
        pull->runtime_handler = xstrdup(request->runtime_handler);
        pull->layers = xcalloc(PULL_LAYERS_SHOWN, sizeof(*pull->layers));
        set_step(pull, "starting");
        pull->since = pull->step_since;
        return pull;
}

static void pull_free(struct pull *pull)
{
        credentials_free(pull->credentials);
        free(pull->candidates);
        free(pull->text);
        free(pull->asked);
        free(pull->os);
        free(pull->architecture);
        free(pull->variant);
        free(pull->space);
        free(pull->user_specified);
        free(pull->runtime_handler);
        free(pull->trusted);
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

static struct pull *find_pull(struct puller *puller, const char *text, const char *trusted,
                              const struct credentials *credentials,
                              const struct pull_request *request)
{
        for (struct pull *pull = puller->first; pull; pull = pull->next)
                if (strcmp(pull->text, text) == 0 && same_text(pull->os, request->os) &&
                    same_text(pull->architecture, request->architecture) &&
                    same_text(pull->variant, request->variant) &&
                    strcmp(pull->trusted, trusted) == 0 &&
                    credentials_same(pull->credentials, credentials))
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

/* A candidate's manifest is here, and nothing else of it. */
struct candidate {
        struct pull *pull;
        const struct reference *reference;
        const char *staging;
        struct trust_plan plan;
        char *verified; /* digest of the manifest that was found good */
};

static int on_signatures(void *argument, const struct fetch_signatures *found, struct error *err)
{
        struct candidate *candidate = argument;
        struct puller *puller = candidate->pull->puller;
        AUTO_ARENA struct arena *arena = arena_new();
        struct trust_subject subject = {found->manifest_digest, found->index_digest};
        struct signatures signatures = found->signatures;

        set_step(candidate->pull, "verifying signatures");
        int r = trust_read_lookaside(&candidate->plan, &subject, arena, &signatures, err);
        if (r == 0)
                r = trust_verify(puller->trust, &candidate->plan, candidate->reference, &subject,
                                 &signatures, err);
        if (r < 0 && r != -ECANCELED && signatures.count == 0)
                trust_say_where(&candidate->plan, err);
        if (r == 0)
                r = trust_stage(puller->store, candidate->staging, &subject, &signatures, err);
        if (r < 0)
                return r;
        candidate->verified = xstrdup(found->manifest_digest);
        set_step(candidate->pull, "downloading");
        return 0;
}

static void forward_progress(void *argument, const struct fetch_progress *progress)
{
        struct candidate *candidate = argument;
        on_progress(candidate->pull, progress);
}

/* Fills a staging folder and stores what is in it. */
static int fetch(struct pull *pull, const struct reference *reference, char *staging, bool *ended,
                 struct error *err)
{
        struct puller *puller = pull->puller;
        AUTO_STORE_HOLD struct store_hold *hold = store_hold_new(puller->store);
        AUTO_ARENA struct arena *arena = NULL;
        AUTO_ARENA struct arena *ours = arena_new();
        AUTO_FREE char *text = reference_text(reference);
        struct fetch_endpoint *endpoints = NULL;
        struct fetch_result result;
        size_t count = 0;
        int r = sources_endpoints(puller->sources, reference, ours, &endpoints, &count, err);
        if (r < 0)
                return r;
        set_step(pull, "looking up credentials");
        r = credentials_give(pull->credentials, reference, endpoints, count, err);
        if (r < 0)
                return r;
        struct candidate candidate = {.pull = pull, .reference = reference, .staging = staging};
        r = trust_plan(puller->trust, reference, pull->space, ours, &candidate.plan, err);
        if (r < 0)
                return r;
        struct fetch_request request = {
                .reference = text,
                .endpoints = endpoints,
                .endpoint_count = count,
                .os = pull->os,
                .architecture = pull->architecture,
                .variant = pull->variant,
                .staging = staging,
                .decryption_keys = puller->decryption_keys,
                .limits = puller->limits,
                .wants_signatures = candidate.plan.needed,
                .lookaside = candidate.plan.lookaside,
                .attachments = candidate.plan.attachments,
        };
        struct fetcher_options options = {
                .program = puller->program,
                .environment = puller->environment,
                .stall = puller->stall,
                .deadline = clock_after(puller->total),
                .on_progress = forward_progress,
                .on_signatures = on_signatures,
                .argument = &candidate,
        };
        request.present = store_hold_diff_ids(hold, &request.present_count);
        set_step(pull, "downloading");
        r = fetcher_run(&options, &request, &arena, &result, ended, err);
        AUTO_FREE char *verified = candidate.verified;
        if (r < 0)
                return r;
        if (verified && (!digest_is_valid(result.config_digest) ||
                         strcmp(verified, result.manifest_digest) != 0))
                return error_set(err, ERROR_INTERNAL,
                                 "crisp-image brings another image than was verified");
        if (verified && (r = trust_check_staged(staging, verified, result.config_digest, err)) < 0)
                return r;
        set_step(pull, "storing");
        struct store_asked asked = {pull->asked, pull->user_specified, pull->runtime_handler};
        return store_commit_asked(puller->store, reference, &asked, staging, &result, &pull->id,
                                  err);
}

static int try_candidate(struct pull *pull, const struct reference *reference, struct error *err)
{
        char *staging = NULL;
        bool ended = true;
        int result = store_stage(pull->puller->store, &staging, err);
        if (result == 0)
                result = fetch(pull, reference, staging, &ended, err);
        if (ended) {
                store_unstage(pull->puller->store, staging);
        } else {
                /* Somebody who cannot be killed may still write there: the next start removes it.
                 */
                log_warning("crisp-image does not end: its folder is left", "folder", staging,
                            NULL);
                free(staging);
        }
        return result;
}

/* Whether somewhere else it may go better. */
static bool is_answer(enum error_code code)
{
        return code != ERROR_CANCELLED && code != ERROR_DEADLINE_EXCEEDED &&
               code != ERROR_INTERNAL && code != ERROR_RESOURCE_EXHAUSTED;
}

/* Each candidate's answer, the code being that of the first who has more to say than that it has
 * no such image. */
static int try_candidates(struct pull *pull, struct error *err)
{
        struct error deciding = {0};
        AUTO_BUFFER struct buffer told = BUFFER_INIT;

        if (pull->candidate_count == 1)
                return try_candidate(pull, &pull->candidates[0], err);
        for (size_t i = 0; i < pull->candidate_count; i++) {
                AUTO_FREE char *text = reference_text(&pull->candidates[i]);
                struct error why = {0};
                int result = try_candidate(pull, &pull->candidates[i], &why);
                if (result == 0)
                        return 0;
                buffer_printf(&told, "%s%s: %s", i > 0 ? "; " : "", text, why.message);
                if (i == 0 || deciding.code == ERROR_NOT_FOUND || !is_answer(why.code))
                        deciding = why;
                if (!is_answer(why.code))
                        break;
        }
        snprintf(deciding.message, sizeof(deciding.message), "%s", told.data);
        if (err)
                *err = deciding;
        return deciding.number;
}

static int run(struct pull *pull, struct error *err)
{
        task_set_interruptible(true);
        int result = take_turn(pull, err);
        if (result < 0)
                return result;
        result = try_candidates(pull, err);
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
                credentials_add_problem(pull->credentials, &pull->error);
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

/* "A or B": all that the name may stand for. */
static char *candidates_text(const struct reference *candidates, size_t count)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *one = reference_text(&candidates[i]);
                buffer_printf(&text, "%s%s", i > 0 ? " or " : "", one);
        }
        return take_ptr(text.data);
}

/* What the policy asks of each candidate, as one text. Refused are those alone that it refuses
 * all. Waits. */
static int ask_trust(struct puller *puller, const struct reference *candidates, size_t count,
                     const char *space, char **trusted, struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        bool allowed = count == 0;
        int result = 0;

        for (size_t i = 0; i < count; i++) {
                struct trust_plan plan;
                int r = trust_plan(puller->trust, &candidates[i], space, arena, &plan, err);
                allowed |= r == 0;
                result = r < 0 ? r : result;
                buffer_printf(&text, "%s,", r < 0 ? "refused" : plan.fingerprint);
        }
        *trusted = buffer_take(&text);
        return allowed ? 0 : result;
}

/* Before a pull is joined: whoever joins must have the same to show. */
static int find_credentials(struct puller *puller, const struct pull_request *request,
                            struct credentials **credentials, struct error *err)
{
        struct reference reference;
        int result = reference_parse(request->reference, &reference, err);
        if (result < 0)
                return result;
        struct credentials_request asked = {
                .given = request->credentials,
                .registry = reference.registry,
                .repository = reference.repository,
                .namespace_ = request->namespace_,
                .helpers = sources_credential_helpers(puller->sources),
        };
        *credentials = credentials_new(&puller->credentials, &asked);
        return 0;
}

int pull_image(struct puller *puller, const struct pull_request *request, char **id,
               struct error *err)
{
        AUTO_FREE struct reference *candidates = NULL;
        size_t count = 0;
        int result = sources_refresh(puller->sources, err);
        if (result < 0)
                return error_context(err, "pull %.300s", request->reference);
        result = sources_candidates(puller->sources, request->reference, &candidates, &count, err);
        if (result < 0)
                return result;
        AUTO_FREE char *text = candidates_text(candidates, count);
        AUTO_CREDENTIALS struct credentials *credentials = NULL;
        result = find_credentials(puller, request, &credentials, err);
        if (result < 0)
                return result;
        AUTO_FREE char *trusted = NULL;
        result = ask_trust(puller, candidates, count, request->namespace_, &trusted, err);
        if (result < 0)
                return error_context(err, "pull %s", text);
        struct pull *pull = find_pull(puller, text, trusted, credentials, request);
        if (pull) {
                puller->counts.joined++;
        } else {
                puller->counts.started++;
                pull = pull_new(puller, take_ptr(candidates), count, take_ptr(text),
                                take_ptr(credentials), request);
                pull->trusted = take_ptr(trusted);
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
                .asked = pull->asked,
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
