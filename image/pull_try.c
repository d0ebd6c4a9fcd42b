/* A pull's turn: each candidate's image fetched and stored. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "image/fetcher.h"
#include "image/pull_private.h"
#include "image/store_keep.h"
#include "image/trust.h"

/* What is shown of the layer; null where it is not shown. */
static struct pull_layer *shown_layer(struct pull *pull, const char *digest)
{
        if (!digest_is_valid(digest))
                return NULL;
        for (size_t i = 0; i < pull->layer_count; i++)
                if (strcmp(pull->layers[i].digest, digest) == 0)
                        return &pull->layers[i];
        if (pull->layer_count == PULL_LAYERS_SHOWN)
                return NULL;
        struct pull_layer *layer = &pull->layers[pull->layer_count++];
        snprintf(layer->digest, sizeof(layer->digest), "%s", digest);
        return layer;
}

static void on_progress(struct pull *pull, const struct fetch_progress *progress)
{
        struct pull_layer *layer = shown_layer(pull, progress->digest);
        uint64_t *bytes = &pull->puller->counts.bytes;
        if (!layer) {
                *bytes += progress->done ? (uint64_t)progress->total : 0;
                return;
        }
        if (progress->bytes > layer->bytes && layer->state != PULL_LAYER_PRESENT)
                *bytes += (uint64_t)(progress->bytes - layer->bytes);
        layer->bytes = progress->bytes;
        layer->total = progress->total;
        layer->done = progress->done;
        if (progress->done && layer->state != PULL_LAYER_PRESENT)
                layer->state = PULL_LAYER_DONE;
        else if (progress->bytes > 0 && !progress->done)
                layer->state = PULL_LAYER_DOWNLOADING;
}

/* A candidate's manifest is here, and nothing else of it. */
struct candidate {
        struct pull *pull;
        const struct reference *reference;
        const char *staging;
        struct trust_plan plan;
        char *verified;       /* digest of the manifest that was found good */
        char *verified_index; /* of the index that led to it, or null */
        struct sharer *sharer;
        struct fetcher *fetcher; /* once it has asked */
};

/* Runs crisp-image, in the cgroup that it is to be in. */
static int run_fetcher(const struct pull *pull, const struct fetch_request *request,
                       struct fetcher_options *options, struct arena **arena,
                       struct fetch_result *result, bool *ended, struct error *err)
{
        const struct puller *puller = pull->puller;
        struct pull_place place = PULL_PLACE_INIT;
        const char *name = strrchr(request->staging, '/') + 1;
        int r = puller->enter ? puller->enter(pull->pod_cgroup, name, &place, err) : 0;
        if (r < 0)
                return r;
        options->place = &place;
        r = fetcher_run(options, request, arena, result, ended, err);
        if (r < 0 && r != -ECANCELED && place.cgroup && err->code == ERROR_INTERNAL)
                error_context(err, "in cgroup %.200s", place.cgroup);
        if (puller->leave)
                puller->leave(&place);
        return r;
}

/* What the policy asks for. */
static int check_trust(struct candidate *candidate, const struct fetch_signatures *found,
                       struct error *err)
{
        struct puller *puller = candidate->pull->puller;
        AUTO_ARENA struct arena *arena = arena_new();
        struct trust_subject subject = {found->manifest_digest, found->index_digest};
        struct signatures signatures = found->signatures;

        if (!candidate->plan.needed)
                return 0;
        pull_set_step(candidate->pull, "verifying signatures");
        int r = trust_read_lookaside(&candidate->plan, &subject, arena, &signatures, err);
        if (r == 0)
                r = trust_verify(puller->trust, &candidate->plan, candidate->reference, &subject,
                                 &signatures, err);
        if (r < 0 && r != -ECANCELED && signatures.count == 0)
                trust_say_where(&candidate->plan, err);
        if (r == 0)
                r = trust_stage(puller->store, candidate->staging, &subject, &signatures, err);
        return r;
}

static bool has_verifiers(const struct puller *puller)
{
        return puller->verifier_dir && *puller->verifier_dir;
}

/* What the operator's programs say. */
static int ask_verifiers(struct candidate *candidate, const struct fetch_signatures *found,
                         struct error *err)
{
        struct puller *puller = candidate->pull->puller;
        if (!has_verifiers(puller))
                return 0;
        if (!found->media_type)
                return error_set(err, ERROR_INTERNAL,
                                 "crisp-image does not tell what the verifiers are to know");
        AUTO_FREE char *name = reference_text(candidate->reference);
        struct verifier_subject subject = {
                .name = name,
                .digest = found->index_digest ? found->index_digest : found->manifest_digest,
                .media_type = found->media_type,
                .size = found->size,
        };
        pull_set_step(candidate->pull, "asking verifiers");
        return verifier_check(&puller->verifier, &subject, err);
}

static int on_signatures(void *argument, const struct fetch_signatures *found, struct error *err)
{
        struct candidate *candidate = argument;
        int r = check_trust(candidate, found, err);
        if (r == 0)
                r = ask_verifiers(candidate, found, err);
        if (r < 0)
                return r;
        candidate->verified = xstrdup(found->manifest_digest);
        candidate->verified_index = xstrdup(found->index_digest);
        pull_set_step(candidate->pull, "downloading");
        return 0;
}

/* It asked about the layer, so that one of its digests is known. */
static void show_answer(struct candidate *candidate, const char *diff_id,
                        enum fetch_verdict verdict)
{
        static const enum pull_layer_state STATES[] = {
                [FETCH_ANSWER_WAIT] = PULL_LAYER_SHARED,
                [FETCH_ANSWER_FETCH] = PULL_LAYER_DOWNLOADING,
                [FETCH_ANSWER_PRESENT] = PULL_LAYER_PRESENT,
        };
        struct pull *pull = candidate->pull;
        for (size_t i = 0; i < pull->layer_count; i++)
                if (strcmp(pull->layers[i].diff_id, diff_id) == 0)
                        pull->layers[i].state = STATES[verdict];
}

static void on_answer(void *argument, const char *diff_id, enum fetch_verdict verdict)
{
        struct candidate *candidate = argument;
        show_answer(candidate, diff_id, verdict);
        fetcher_answer(candidate->fetcher, diff_id, verdict);
}

static void on_want(void *argument, struct fetcher *fetcher, const struct fetch_want *want)
{
        struct candidate *candidate = argument;
        struct pull_layer *layer = shown_layer(candidate->pull, want->digest);
        if (layer) {
                snprintf(layer->diff_id, sizeof(layer->diff_id), "%s", want->diff_id);
                layer->total = want->size;
        }
        candidate->fetcher = fetcher;
        sharer_want(candidate->sharer, want->diff_id, want->digest);
}

static void on_layer(void *argument, const struct fetch_layer *layer)
{
        struct candidate *candidate = argument;
        sharer_whole(candidate->sharer, layer->diff_id);
}

static void forward_progress(void *argument, const struct fetch_progress *progress)
{
        struct candidate *candidate = argument;
        sharer_progress(candidate->sharer, progress->digest, progress->bytes);
        on_progress(candidate->pull, progress);
}

static bool same_digest(const char *a, const char *b)
{
        return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Fills a staging folder and stores what is in it. */
static int fetch(struct pull *pull, const struct reference *reference, char *staging,
                 struct sharer **sharer, bool *ended, struct error *err)
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
        pull_set_step(pull, "looking up credentials");
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
                .wants_signatures = candidate.plan.needed || has_verifiers(puller),
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
                .on_want = on_want,
                .on_layer = on_layer,
                .argument = &candidate,
        };
        request.present = store_hold_diff_ids(hold, &request.present_count);
        pull_set_step(pull, "downloading");
        candidate.sharer = *sharer = sharer_new(puller->share, staging, on_answer, &candidate);
        r = run_fetcher(pull, &request, &options, &arena, &result, ended, err);
        sharer_mute(*sharer);
        AUTO_FREE char *verified = candidate.verified;
        AUTO_FREE char *verified_index = candidate.verified_index;
        if (r < 0)
                return r;
        if (verified && (!digest_is_valid(result.config_digest) ||
                         strcmp(verified, result.manifest_digest) != 0 ||
                         !same_digest(verified_index, result.index_digest)))
                return error_set(err, ERROR_INTERNAL,
                                 "crisp-image brings another image than was verified");
        if (verified && (r = trust_check_staged(staging, verified, result.config_digest, err)) < 0)
                return r;
        pull_set_step(pull, "storing");
        struct store_asked asked = {pull->asked, pull->user_specified, pull->runtime_handler};
        return store_commit_asked(puller->store, reference, &asked, staging, &result, &pull->id,
                                  err);
}

/* Layers that came whole before a failure are there for the next who asks: unless it is room that
 * is missing. */
static void keep_layers(struct pull *pull, const struct sharer *sharer, const char *staging,
                        enum error_code why)
{
        struct error err;
        if (!sharer || !sharer_has_whole(sharer) || why == ERROR_RESOURCE_EXHAUSTED)
                return;
        if (store_keep(pull->puller->store, staging, NULL, &err) < 0)
                log_failure(&err, "layers of a failed pull could not be kept", "image", pull->text,
                            NULL);
}

static int try_candidate(struct pull *pull, const struct reference *reference, struct error *err)
{
        char *staging = NULL;
        bool ended = true;
        struct sharer *sharer = NULL;
        int result = store_stage(pull->puller->store, &staging, err);
        if (result == 0)
                result = fetch(pull, reference, staging, &sharer, &ended, err);
        if (result < 0 && ended)
                keep_layers(pull, sharer, staging, err->code);
        sharer_end(sharer);
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
int pull_try_candidates(struct pull *pull, struct error *err)
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
