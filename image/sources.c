#include "image/sources.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"
#include "base/task.h"
#include "image/host.h"
#include "image/hosts.h"
#include "image/registries.h"

struct sources {
        char *registries_conf;
        char **hosts_dirs;
        char **certs_dirs;
        struct registries *registries; /* the last that could be read */
        char *fingerprint;             /* of what was read; null: nothing, or it was wrong */
};

struct sources *sources_new(const struct sources_options *options)
{
        struct sources *sources = xcalloc(1, sizeof(*sources));
        sources->registries_conf = xstrdup(options->registries_conf);
        sources->hosts_dirs = strv_dup(options->hosts_dirs);
        sources->certs_dirs = strv_dup(options->certs_dirs);
        sources->registries = registries_new();
        return sources;
}

void sources_free(struct sources *sources)
{
        if (!sources)
                return;
        free(sources->registries_conf);
        strv_free(sources->hosts_dirs);
        strv_free(sources->certs_dirs);
        registries_unref(sources->registries);
        free(sources->fingerprint);
        free(sources);
}

char *const *sources_credential_helpers(const struct sources *sources)
{
        return registries_credential_helpers(sources->registries);
}

/* ---- registries.conf ---- */

struct load_job {
        const char *path;
        const char *known;             /* the fingerprint of what is in memory */
        char *fingerprint;             /* of what was found */
        struct registries *registries; /* null: nothing has changed */
        struct error *err;
};

static int load_work(void *argument)
{
        struct load_job *job = argument;
        job->fingerprint = registries_fingerprint(job->path);
        if (job->known && strcmp(job->known, job->fingerprint) == 0)
                return 0;
        return registries_load(job->path, &job->registries, job->err);
}

static void keep(struct sources *sources, struct load_job *job)
{
        if (job->registries) {
                registries_unref(sources->registries);
                sources->registries = job->registries;
        }
        free(sources->fingerprint);
        sources->fingerprint = take_ptr(job->fingerprint);
}

/* What went wrong is looked at again the next time, whether it has changed or not. */
static int give_up(struct sources *sources, struct load_job *job)
{
        free(job->fingerprint);
        free(sources->fingerprint);
        sources->fingerprint = NULL;
        return error_context(job->err, "registries.conf");
}

int sources_load(struct sources *sources, struct error *err)
{
        struct load_job job = {.path = sources->registries_conf, .err = err};
        if (!sources->registries_conf)
                return 0;
        if (load_work(&job) < 0)
                return give_up(sources, &job);
        keep(sources, &job);
        return 0;
}

int sources_refresh(struct sources *sources, struct error *err)
{
        /* Another pull may replace it meanwhile. */
        AUTO_FREE char *known = xstrdup(sources->fingerprint);
        struct load_job job = {.path = sources->registries_conf, .known = known, .err = err};
        if (!sources->registries_conf)
                return 0;
        if (task_offload(load_work, &job) < 0)
                return give_up(sources, &job);
        keep(sources, &job);
        return 0;
}

/* ---- names ---- */

int sources_candidates(const struct sources *sources, const char *name,
                       struct reference **candidates, size_t *count, struct error *err)
{
        return registries_candidates(sources->registries, name, true, candidates, count, err);
}

const struct image *sources_find(const struct sources *sources, const struct store *store,
                                 const char *name)
{
        AUTO_FREE struct reference *candidates = NULL;
        size_t count = 0;

        if (!name || !name[0] || !reference_is_short(name))
                return store_find(store, name);
        /* An ID, or its beginning, looks like a short name. */
        const struct image *by_id =
                strncmp(name, "sha256:", 7) == 0 ? store_find_id(store, name) : NULL;
        if (by_id)
                return by_id;
        if (registries_candidates(sources->registries, name, false, &candidates, &count, NULL) < 0)
                return store_find_id(store, name);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *text = reference_text(&candidates[i]);
                const struct image *image = store_find(store, text);
                if (image)
                        return image;
        }
        return store_find_id(store, name);
}

/* ---- endpoints ---- */

struct endpoints_job {
        const struct sources *sources; /* its folders, which do not change */
        struct registries *registries;
        const struct reference *reference;
        struct arena *arena;
        struct fetch_endpoint *list;
        size_t count;
        struct error *err;
};

/* The folder with certificates for a registry. */
static const char *certificates_of(const struct endpoints_job *job, const char *registry)
{
        return hosts_certificate_folder(job->sources->certs_dirs, registry, job->arena);
}

/*
 * A place whose scheme nobody said. Somebody who put certificates there expects TLS, even on this
 * machine.
 */
static int add_place(struct endpoints_job *job, const char *registry, const char *repository,
                     bool insecure, const char *folder)
{
        struct fetch_endpoint *endpoint = &job->list[job->count++];
        AUTO_FREE char *url = host_url(registry);
        const char *host = strstr(url, "://") + 3;

        *endpoint = (struct fetch_endpoint){
                .repository = arena_strdup(job->arena, repository),
                .insecure = insecure,
        };
        const char *folders[] = {folder, certificates_of(job, registry)};
        for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
                int r = folders[i]
                                ? hosts_add_certificates(folders[i], job->arena, endpoint, job->err)
                                : 0;
                if (r < 0)
                        return r;
        }
        bool secure = strncmp(url, "https:", 6) == 0 || insecure || endpoint->authority_count > 0 ||
                      endpoint->certificate;
        endpoint->url = arena_printf(job->arena, "%s://%s", secure ? "https" : "http", host);
        if (insecure)
                job->list[job->count++] = (struct fetch_endpoint){
                        .url = arena_printf(job->arena, "http://%s", host),
                        .repository = endpoint->repository,
                };
        return 0;
}

static int add_sources(struct endpoints_job *job, const struct registries_source *sources,
                       size_t count)
{
        int r = 0;
        job->list = arena_array(job->arena, 2 * count, sizeof(*job->list));
        for (size_t i = 0; r == 0 && i < count; i++)
                r = add_place(job, sources[i].registry, sources[i].repository, sources[i].insecure,
                              NULL);
        return r;
}

/* A hosts.toml says of a host's certificates what it says; what it leaves open the folders do. */
static int add_host_certificates(struct endpoints_job *job)
{
        int r = 0;
        for (size_t i = 0; r == 0 && i < job->count; i++) {
                struct fetch_endpoint *endpoint = &job->list[i];
                const char *host = strstr(endpoint->url, "://") + 3;
                if (strncasecmp(endpoint->url, "https:", 6) != 0)
                        continue;
                const char *name = arena_strndup(job->arena, host, strcspn(host, "/"));
                if (strcmp(name, HOST_DOCKER_SERVER) == 0)
                        name = HOST_DOCKER;
                const char *folder = certificates_of(job, name);
                if (folder)
                        r = hosts_add_certificates(folder, job->arena, endpoint, job->err);
        }
        return r;
}

static int endpoints_work(void *argument)
{
        struct endpoints_job *job = argument;
        const char *registry = job->reference->registry;
        struct registries_source *sources = NULL;
        const char *folder = NULL;
        size_t count = 0;

        int r = registries_sources(job->registries, job->reference, &sources, &count, job->err);
        if (r < 0)
                return r;
        if (count > 0) {
                r = add_sources(job, sources, count);
                registries_sources_free(sources, count);
                return r;
        }
        r = hosts_endpoints(job->sources->hosts_dirs, registry, job->arena, &job->list, &job->count,
                            &folder, job->err);
        if (r < 0)
                return r;
        if (job->count > 0)
                return add_host_certificates(job);
        job->list = arena_array(job->arena, 1, sizeof(*job->list));
        return add_place(job, registry, job->reference->repository, false, folder);
}

int sources_endpoints(struct sources *sources, const struct reference *reference,
                      struct arena *arena, struct fetch_endpoint **endpoints, size_t *count,
                      struct error *err)
{
        struct endpoints_job job = {
                .sources = sources,
                .registries = registries_ref(sources->registries),
                .reference = reference,
                .arena = arena,
                .err = err,
        };
        int r = task_offload(endpoints_work, &job);
        registries_unref(job.registries);
        if (r < 0)
                return r;
        *endpoints = job.list;
        *count = job.count;
        return 0;
}
