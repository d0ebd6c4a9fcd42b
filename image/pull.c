#include "image/pull.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "image/pull_private.h"

struct puller *puller_new(const struct pull_options *options)
{
        struct puller *puller = xcalloc(1, sizeof(*puller));
        puller->store = options->store;
        puller->sources = options->sources;
        puller->credentials = options->credentials;
        puller->trust = options->trust;
        puller->verifier = options->verifier;
        puller->verifier.directory = puller->verifier_dir = xstrdup(options->verifier.directory);
        puller->program = xstrdup(options->program);
        puller->decryption_keys = xstrdup(options->decryption_keys);
        puller->environment = strv_dup(options->environment);
        puller->parallel = options->parallel ? options->parallel : PULL_PARALLEL_DEFAULT;
        puller->stall = options->stall ? options->stall : PULL_STALL_DEFAULT;
        puller->total = options->total ? options->total : PULL_TOTAL_DEFAULT;
        puller->limits = options->limits;
        puller->enter = options->enter;
        puller->leave = options->leave;
        puller->by_pod = options->by_pod;
        puller->share = share_new(options->store, &options->share);
        return puller;
}

void puller_free(struct puller *puller)
{
        if (!puller)
                return;
        share_free(puller->share);
        free(puller->verifier_dir);
        free(puller->program);
        free(puller->decryption_keys);
        strv_free(puller->environment);
        free(puller);
}

void puller_leave(struct puller *puller)
{
        puller->leaving = true;
}

/* ---- a pull ---- */

void pull_set_step(struct pull *pull, const char *step)
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
        pull->pod_cgroup = xstrdup(request->pod_cgroup);
        pull->layers = xcalloc(PULL_LAYERS_SHOWN, sizeof(*pull->layers));
        pull_set_step(pull, "starting");
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
        free(pull->pod_cgroup);
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
                    (!puller->by_pod || same_text(pull->pod_cgroup, request->pod_cgroup)) &&
                    strcmp(pull->trusted, trusted) == 0 &&
                    credentials_same(pull->credentials, credentials))
                        return pull;
        return NULL;
}

static int take_turn(struct pull *pull, struct error *err)
{
        struct puller *puller = pull->puller;
        if (puller->running >= puller->parallel) {
                puller->counts.queued++;
                pull_set_step(pull, "waiting for a turn");
        }
        while (puller->running >= puller->parallel)
                if (task_wait(&puller->turn, CLOCK_NEVER) < 0)
                        return error_set(err, ERROR_CANCELLED, "nobody waits for it any more");
        puller->running++;
        return 0;
}

static int run(struct pull *pull, struct error *err)
{
        task_set_interruptible(true);
        int result = take_turn(pull, err);
        if (result < 0)
                return result;
        result = pull_try_candidates(pull, err);
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
        if (pull->result == -ECANCELED)
                return;
        counts->no_room += pull->result < 0 && pull->error.code == ERROR_RESOURCE_EXHAUSTED;
        counts->timed_out += pull->result < 0 && pull->error.code == ERROR_DEADLINE_EXCEEDED;
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
                if (pull->waiters == 0 && !pull->puller->leaving) {
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

/* The arena outlives the credentials, which have the secrets. */
static void copy_secrets(struct arena *arena, struct fetch_credentials *credentials)
{
        const char **const members[] = {&credentials->username,       &credentials->password,
                                        &credentials->auth,           &credentials->identity_token,
                                        &credentials->registry_token, &credentials->server_address};
        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
                *members[i] = arena_strdup(arena, *members[i]);
}

int pull_plan(struct puller *puller, const char *name, const struct fetch_credentials *given,
              struct arena *arena, struct fetch_request *plan, struct error *err)
{
        AUTO_CREDENTIALS struct credentials *credentials = NULL;
        struct pull_request request = {.reference = name, .credentials = given};
        struct reference reference;
        struct fetch_endpoint *endpoints = NULL;
        size_t count = 0;
        int r;

        if ((r = sources_refresh(puller->sources, err)) < 0 ||
            (r = reference_parse(name, &reference, err)) < 0 ||
            (r = sources_endpoints(puller->sources, &reference, arena, &endpoints, &count, err)) <
                    0 ||
            (r = find_credentials(puller, &request, &credentials, err)) < 0 ||
            (r = credentials_give(credentials, &reference, endpoints, count, err)) < 0)
                return r;
        for (size_t i = 0; i < count; i++)
                copy_secrets(arena, &endpoints[i].credentials);
        plan->reference = arena_strdup(arena, name);
        plan->endpoints = endpoints;
        plan->endpoint_count = count;
        plan->decryption_keys = puller->decryption_keys;
        plan->limits = puller->limits;
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
        counts->shared = share_count(puller->share);
        counts->overtaken = share_count_given_up(puller->share);
}
