#include "image/fetch/registry.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/memory.h"
#include "image/fetch/limits.h"
#include "image/fetch/refusal.h"
#include "image/reference.h"

#define TOLD_MAX           700 /* bytes of one endpoint's failure beside others */
#define TOLD_ROOM          (ERROR_MESSAGE_MAX - 400) /* bytes of all; the rest is for contexts */
#define TOLD_CUT           "..."
#define FIRST_RETRY_DELAY  250 /* ms; doubles */
#define UNREACHED_TRIES    1   /* further tries where no connection is made */
#define URL_SHOWN          200 /* bytes of a URL in an error */
#define AUTHORIZATIONS_MAX 3   /* headers tried for one request */

struct registry {
        struct stop *stop;
        int64_t retries;
        int64_t retry_delay_max; /* ms */
        const struct endpoint *endpoints;
        size_t count;
        atomic_size_t preferred; /* the one that answered last: blobs are where the manifest was */
};

struct registry *registry_new(const struct endpoint_list *endpoints,
                              const struct fetch_limits *limits, struct stop *stop)
{
        struct registry *registry = xcalloc(1, sizeof(*registry));

        registry->stop = stop;
        registry->retries = limits->retries;
        registry->retry_delay_max = limits->retry_delay_max;
        registry->endpoints = endpoints->list;
        registry->count = endpoints->count;
        return registry;
}

void registry_free(struct registry *registry)
{
        free(registry);
}

/* ---- one request ---- */

static int refuse(const struct endpoint *endpoint, const struct http_call *call, const char *header,
                  struct error *err)
{
        const char *secrets[8] = {0};
        char text[REFUSAL_TEXT_MAX];
        size_t count = 0;

        for (const char *const *s = auth_secrets(endpoint->auth); *s; s++)
                secrets[count++] = *s;
        const char *blank = header ? strchr(header, ' ') : NULL;
        if (blank)
                secrets[count++] = blank + 1;
        refusal_text(call, secrets, text);
        bool denied = call->status == 401 || call->status == 403;
        return error_set(err, refusal_code(call->status), "%s%s", text,
                         call->elsewhere     ? " (from where it redirects to)"
                         : denied && !header ? " (no user name and password were given)"
                         : denied && !auth_has_credentials(endpoint->auth)
                                 ? " (with an anonymous token: the repository is not there, or "
                                   "needs a user name and a password)"
                                 : "");
}

int registry_perform(const struct endpoint *endpoint, struct http_client *client,
                     struct http_call *call, bool *passing, struct error *err)
{
        for (int tries = 1;; tries++) {
                unsigned version;
                CLEANUP(auth_free_header)
                char *header = auth_header(endpoint->auth, clock_monotonic(), &version);

                call->authorization = header;
                int r = http_perform(client, call, err);
                call->authorization = NULL;
                *passing =
                        r < 0 ? err->code == ERROR_UNAVAILABLE : refusal_is_passing(call->status);
                if (r < 0)
                        return r;
                if (call->status >= 200 && call->status <= 299)
                        return 0;
                if (call->status != 401 || call->challenges.length == 0 ||
                    tries == AUTHORIZATIONS_MAX)
                        return refuse(endpoint, call, header, err);

                /* Basic credentials that were refused once will be refused again. */
                if (header && strncmp(header, "Basic ", 6) == 0)
                        return refuse(endpoint, call, header, err);
                AUTO_FREE char *challenges = xstrdup(call->challenges.data);
                r = auth_answer(endpoint->auth, client, challenges, version, err);
                if (r < 0) {
                        *passing = err->code == ERROR_UNAVAILABLE;
                        return r;
                }
        }
}

/* Waits before try number tries (from 1). False when the whole is stopped. */
static bool pause_before(struct registry *registry, int64_t tries, int64_t retry_after)
{
        int64_t delay = FIRST_RETRY_DELAY << (tries < 16 ? tries - 1 : 15);

        if (retry_after >= 0 && retry_after <= registry->retry_delay_max / 1000)
                delay = retry_after * 1000;
        else if (retry_after >= 0 || delay > registry->retry_delay_max)
                delay = registry->retry_delay_max;
        /* Nodes that were refused together must not come back together. */
        uint32_t jitter = 0;
        if (getrandom(&jitter, sizeof(jitter), GRND_NONBLOCK) < 0)
                jitter = (uint32_t)clock_monotonic();
        delay += (int64_t)(jitter % (uint64_t)(delay / 4 + 1));
        return !stop_wait(registry->stop, delay);
}

/* Performs a request on one endpoint until it works, cannot, or was tried often enough. */
static int try_endpoint(struct registry *registry, const struct endpoint *endpoint,
                        struct http_client *client, registry_request *function, void *argument,
                        struct error *err)
{
        for (int64_t tries = 1;; tries++) {
                AUTO_HTTP_CALL struct http_call call = {.trust = &endpoint->trust,
                                                        .identity = &endpoint->identity};
                bool passing = false;

                int r = function(endpoint, client, argument, &call, &passing, err);
                if (r == 0 || !passing)
                        return r;
                int64_t most = call.reached || registry->retries < UNREACHED_TRIES
                                       ? registry->retries
                                       : UNREACHED_TRIES;
                if (tries > most)
                        return tries > 1 ? (error_context(err, "%lld tries", (long long)tries), r)
                                         : r;
                if (!pause_before(registry, tries, call.retry_after))
                        return error_set(err, ERROR_CANCELLED, "cancelled");
        }
}

/* Each of those that are left (this one among them) gets its share of the room: the last is the
 * registry itself, and most often the one that counts. */
static void tell(char told[TOLD_ROOM], const char *name, const char *message, size_t left)
{
        size_t length = strlen(told), share = (TOLD_ROOM - length) / left;
        size_t room = share < TOLD_MAX ? share : TOLD_MAX;
        int wanted =
                snprintf(told + length, room, "%s%s: %s", length > 0 ? "; " : "", name, message);

        if (wanted >= (int)room && room > sizeof(TOLD_CUT))
                strcpy(told + length + room - sizeof(TOLD_CUT), TOLD_CUT);
}

int registry_try(struct registry *registry, struct http_client *client, bool by_tag,
                 registry_request *function, void *argument, struct error *err)
{
        struct error last = {0}, deciding = {0};
        size_t decider = 0;
        char told[TOLD_ROOM] = "";
        size_t first = atomic_load(&registry->preferred), tried = 0;
        bool skipped = false;

        for (size_t i = 0; i < registry->count; i++) {
                size_t at = (first + i) % registry->count;
                const struct endpoint *endpoint = &registry->endpoints[at];
                if (by_tag && endpoint->digests_only) {
                        skipped = true;
                        continue;
                }
                int r = try_endpoint(registry, endpoint, client, function, argument, &last);
                if (r == 0) {
                        /* Who was not asked for the tag may still be the first to ask for blobs. */
                        if (!skipped)
                                atomic_store(&registry->preferred, at);
                        return 0;
                }
                /* What ended because of us is no answer of an endpoint's. */
                if (last.code == ERROR_CANCELLED || last.code == ERROR_DATA_LOSS)
                        return error_set(err, last.code, "%s: %s", endpoint->name, last.message);
                /* The code is that of the last in the list: mirrors come before the registry
                 * itself. */
                if (tried == 0 || at > decider) {
                        decider = at;
                        deciding = last;
                }
                tell(told, endpoint->name, last.message, registry->count - i);
                tried++;
        }
        if (tried == 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "no endpoint may be asked what a tag stands for");
        return error_set(err, deciding.code, "%s", told);
}

int registry_try_url(struct registry *registry, struct http_client *client, const char *url,
                     registry_request *function, void *argument, struct error *err)
{
        static const struct fetch_credentials nobody;
        const char *first = registry->endpoints[atomic_load(&registry->preferred)].url;
        bool plain = strncmp(first, "http:", 5) == 0;
        const char *host = strstr(url, "://");
        struct endpoint there = {
                .url = (char *)(uintptr_t)url,
                .query = (char *)(uintptr_t) "",
                .identity = {.origin = url},
        };

        if (!host || !http_url_is_allowed(url, plain))
                return error_set(err, ERROR_UNAVAILABLE, "%.*s: not reached by https", URL_SHOWN,
                                 url);
        int r = auth_new(&nobody, "", plain, NULL, NULL, &there.auth, err);
        if (r < 0)
                return r;
        r = try_endpoint(registry, &there, client, function, argument, err);
        auth_free(there.auth);
        host += 3;
        return r < 0 ? error_context(err, "%.*s", (int)strcspn(host, "/?#"), host) : 0;
}

/* ---- documents ---- */

struct document {
        const char *kind, *name, *accept;
        size_t max;
        struct buffer body;
        char content_type[128];
};

static int keep_document(struct http_call *call, const char *bytes, size_t length,
                         struct error *err)
{
        struct document *document = call->argument;

        if (length > document->max - document->body.length)
                return error_set(err, ERROR_DATA_LOSS, "longer than %zu bytes", document->max);
        buffer_add(&document->body, bytes, length);
        return 0;
}

static int request_document(const struct endpoint *endpoint, struct http_client *client,
                            void *argument, struct http_call *call, bool *passing,
                            struct error *err)
{
        struct document *document = argument;
        AUTO_FREE char *url = xprintf("%s/%s/%s%s", endpoint->url, document->kind, document->name,
                                      endpoint->query);

        document->body.length = 0;
        call->url = url;
        call->accept = document->accept;
        call->sink = keep_document;
        call->argument = document;
        int r = registry_perform(endpoint, client, call, passing, err);
        call->url = NULL;
        if (r == 0)
                memcpy(document->content_type, call->content_type, sizeof(call->content_type));
        return r;
}

int registry_get(struct registry *registry, struct http_client *client, const char *kind,
                 const char *name, const char *accept, size_t max, struct buffer *body,
                 char content_type[128], struct error *err)
{
        struct document document = {.kind = kind, .name = name, .accept = accept, .max = max};

        bool by_tag = strcmp(kind, "manifests") == 0 && !digest_is_valid(name);
        int r = registry_try(registry, client, by_tag, request_document, &document, err);
        if (r == 0) {
                buffer_add(body, document.body.data ? document.body.data : "",
                           document.body.length);
                memcpy(content_type, document.content_type, sizeof(document.content_type));
        }
        buffer_fini(&document.body);
        return r;
}
