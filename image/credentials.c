#include "image/credentials.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "base/task.h"
#include "image/auth_file.h"
#include "image/credential_helper.h"
#include "image/host.h"
#include "image/secret.h"

#define PROBLEM_MAX     1024     /* bytes of what went wrong, all together */
#define NAMESPACE_MAX   63       /* bytes: a namespace is a DNS label */
#define IN_USE          "in-use" /* folder of namespaced files that are being used, as in CRI-O */
#define TAKEN_DIGITS    16       /* random ones of a taken file's name */
#define HELPER_RUNS_MAX 64       /* different questions to helpers of one pull */

/* An answer of a helper: the same question is asked once. */
struct answer {
        struct answer *next;
        char *helper;
        char *server;
        struct fetch_credentials found;
        bool failed;
};

struct credentials {
        struct fetch_credentials given;
        char given_host[HOST_LENGTH_MAX + 1]; /* that given is for */
        struct auth_file *files[CREDENTIALS_FILES_MAX];
        size_t file_count;
        bool namespaced; /* the first file is the namespaced one, and the only one */
        char **helpers;
        int64_t helper_timeout;
        struct answer *answers;
        size_t answer_count;
        char problem[PROBLEM_MAX];
};

void credentials_free(struct credentials *credentials)
{
        if (!credentials)
                return;
        secret_wipe(&credentials->given);
        for (size_t i = 0; i < credentials->file_count; i++)
                auth_file_free(credentials->files[i]);
        for (struct answer *answer = credentials->answers, *next; answer; answer = next) {
                next = answer->next;
                secret_wipe(&answer->found);
                free(answer->helper);
                free(answer->server);
                free(answer);
        }
        strv_free(credentials->helpers);
        free(credentials);
}

static bool same_lists(char *const *a, char *const *b)
{
        size_t i = 0;
        while (a[i] && b[i] && strcmp(a[i], b[i]) == 0)
                i++;
        return !a[i] && !b[i];
}

bool credentials_same(const struct credentials *a, const struct credentials *b)
{
        if (!secret_same(&a->given, &b->given) || strcmp(a->given_host, b->given_host) != 0 ||
            a->namespaced != b->namespaced || a->file_count != b->file_count ||
            !same_lists(a->helpers, b->helpers))
                return false;
        for (size_t i = 0; i < a->file_count; i++)
                if (!auth_file_same(a->files[i], b->files[i]))
                        return false;
        return true;
}

const char *credentials_problem(const struct credentials *credentials)
{
        return credentials->problem;
}

void credentials_add_problem(const struct credentials *credentials, struct error *err)
{
        size_t length = strlen(err->message);
        if (credentials->problem[0])
                snprintf(err->message + length, sizeof(err->message) - length, " (credentials: %s)",
                         credentials->problem);
}

static void add_problem(struct credentials *credentials, const struct error *why)
{
        size_t length = strlen(credentials->problem);

        if (strstr(credentials->problem, why->message))
                return; /* the same file or helper for another endpoint */
        snprintf(credentials->problem + length, PROBLEM_MAX - length, "%s%s",
                 length > 0 ? "; " : "", why->message);
        log_failure(why, "credentials could not be looked up", NULL);
}

/* ---- files ---- */

struct file_job {
        const struct credentials_options *options;
        char *namespaced; /* path of the namespaced file; null: there can be none */
        struct credentials *credentials;
        struct error *errors; /* CREDENTIALS_FILES_MAX of them */
        size_t error_count;
};

static bool is_missing(int number)
{
        return number == -ENOENT || number == -ENOTDIR;
}

static int read_file(struct file_job *job, const char *path)
{
        struct credentials *credentials = job->credentials;
        struct error *err = &job->errors[job->error_count];
        int r = auth_file_read(path, &credentials->files[credentials->file_count], err);

        if (r == 0)
                credentials->file_count++;
        else if (!is_missing(r))
                job->error_count++;
        return r;
}

/*
 * Takes the file out of the reach of others before it is read, so that it serves one pull; what is
 * taken is gone when it was read. The folder and the name are those that CRI-O uses, for who looks
 * there.
 */
static void take_namespaced(struct file_job *job)
{
        struct error *err = &job->errors[job->error_count];
        char random[TAKEN_DIGITS + 1];
        const char *name = strrchr(job->namespaced, '/') + 1;
        AUTO_FREE char *folder = xprintf("%s/" IN_USE, job->options->namespaced_auth_dir);
        int length = (int)(strlen(name) - strlen(".json"));

        id_random_hex(random, TAKEN_DIGITS);
        AUTO_FREE char *taken = xprintf("%s/%.*s-%s.json", folder, length, name, random);
        if (access(job->namespaced, F_OK) < 0)
                return;
        /* It is in place of the node's files also where it cannot be used. */
        job->credentials->namespaced = true;
        if (file_make_directories(folder, 0700, err) < 0) {
                job->error_count++;
                return;
        }
        if (rename(job->namespaced, taken) < 0) {
                int number = errno;
                /* Another pull was faster: for this one there is none. */
                job->credentials->namespaced = number != ENOENT;
                if (number != ENOENT)
                        error_errno(&job->errors[job->error_count++], number, "rename %s to %s",
                                    job->namespaced, taken);
                return;
        }
        read_file(job, taken);
        if (unlink(taken) < 0 && job->error_count < CREDENTIALS_FILES_MAX)
                error_errno(&job->errors[job->error_count++], errno, "remove %s", taken);
}

/* In a worker. */
static int read_files(void *argument)
{
        struct file_job *job = argument;
        char *const *paths = job->options->auth_files;

        if (job->namespaced)
                take_namespaced(job);
        for (size_t i = 0; !job->credentials->namespaced && paths && paths[i] &&
                           job->credentials->file_count < CREDENTIALS_FILES_MAX &&
                           job->error_count < CREDENTIALS_FILES_MAX;
             i++)
                read_file(job, paths[i]);
        return 0;
}

/* DIR/NAMESPACE-SHA256.json, with the digest of the image's name without tag; heap, or null. */
static char *namespaced_path(const struct credentials_options *options,
                             const struct credentials_request *request)
{
        const char *folder = options->namespaced_auth_dir, *namespace_ = request->namespace_;
        char digest[SHA256_HEX + 1];

        if (!folder || !folder[0] || !namespace_ || !namespace_[0])
                return NULL;
        /* What is no namespace's name could lead out of the folder. */
        if (strlen(namespace_) > NAMESPACE_MAX || strchr(namespace_, '/'))
                return NULL;
        AUTO_FREE char *image = xprintf("%s/%s", request->registry, request->repository);
        sha256_hex(image, strlen(image), digest);
        return xprintf("%s/%s-%s.json", folder, namespace_, digest);
}

struct credentials *credentials_new(const struct credentials_options *options,
                                    const struct credentials_request *request)
{
        static char *files_alone[] = {(char *)(uintptr_t)CREDENTIALS_AUTH_FILE_MEMBER, NULL};
        struct credentials *credentials = xcalloc(1, sizeof(*credentials));
        const struct fetch_credentials *given = request->given;
        const char *address = given ? given->server_address : NULL;
        bool listed = request->helpers && request->helpers[0];

        secret_copy(&credentials->given, given);
        host_name(address && address[0] ? address : request->registry, credentials->given_host);
        credentials->helpers = strv_dup(listed ? request->helpers : files_alone);
        credentials->helper_timeout =
                options->helper_timeout ? options->helper_timeout : CREDENTIALS_HELPER_TIMEOUT;

        AUTO_FREE char *namespaced = namespaced_path(options, request);
        struct file_job job = {
                .options = options,
                .namespaced = namespaced,
                .credentials = credentials,
                .errors = xcalloc(CREDENTIALS_FILES_MAX, sizeof(struct error)),
        };
        task_offload(read_files, &job);
        for (size_t i = 0; i < job.error_count; i++)
                add_problem(credentials, &job.errors[i]);
        free(job.errors);
        return credentials;
}

/* ---- helpers ---- */

static const struct answer *known_answer(const struct credentials *credentials, const char *helper,
                                         const char *server)
{
        for (const struct answer *answer = credentials->answers; answer; answer = answer->next) {
                /* One that failed is not waited for once more with another question. */
                if (strcmp(answer->helper, helper) == 0 &&
                    (answer->failed || strcmp(answer->server, server) == 0))
                        return answer;
        }
        return NULL;
}

/* Null after -ECANCELED, in err. */
static const struct answer *ask_helper(struct credentials *credentials, const char *helper,
                                       const char *server, struct error *err)
{
        static const struct answer nothing = {.failed = true};
        const struct answer *known = known_answer(credentials, helper, server);
        struct error why;

        if (known)
                return known;
        if (credentials->answer_count == HELPER_RUNS_MAX)
                return &nothing;
        struct answer *answer = xcalloc(1, sizeof(*answer));
        answer->helper = xstrdup(helper);
        answer->server = xstrdup(server);
        answer->next = credentials->answers;
        credentials->answers = answer;
        credentials->answer_count++;
        int r = credential_helper_get(helper, server, clock_after(credentials->helper_timeout),
                                      &answer->found, &why);
        answer->failed = r < 0;
        if (r == -ECANCELED) {
                if (err)
                        *err = why;
                return NULL;
        }
        if (r < 0)
                add_problem(credentials, &why);
        return answer;
}

/* ---- finding ---- */

static int find_in_files(struct credentials *credentials, const char *host, const char *repository,
                         struct fetch_credentials *found, struct error *err)
{
        for (size_t i = 0; i < credentials->file_count && secret_is_empty(found); i++) {
                struct auth_file_answer said;
                struct error why;
                if (auth_file_find(credentials->files[i], host, repository, &said, &why) < 0) {
                        add_problem(credentials, &why);
                        continue;
                }
                *found = said.credentials;
                if (!said.helper)
                        continue;
                const struct answer *answer =
                        ask_helper(credentials, said.helper, said.server, err);
                if (!answer)
                        return -ECANCELED;
                *found = answer->found;
        }
        return 0;
}

int credentials_find(struct credentials *credentials, const char *host, const char *repository,
                     struct fetch_credentials *found, struct error *err)
{
        struct fetch_credentials result = {0};
        char plain[HOST_LENGTH_MAX + 1];
        int r;

        host_name(host, plain);
        if (plain[0] && strcmp(plain, credentials->given_host) == 0)
                result = credentials->given;
        if (secret_is_empty(&result) && credentials->namespaced &&
            (r = find_in_files(credentials, plain, repository, &result, err)) < 0)
                return r;
        for (char **helper = credentials->helpers; *helper && secret_is_empty(&result); helper++) {
                if (strcmp(*helper, CREDENTIALS_AUTH_FILE_MEMBER) == 0) {
                        r = find_in_files(credentials, plain, repository, &result, err);
                        if (r < 0)
                                return r;
                        continue;
                }
                const struct answer *answer = ask_helper(credentials, *helper, plain, err);
                if (!answer)
                        return -ECANCELED;
                result = answer->found;
        }
        /* Whom they are for has been settled here. */
        result.server_address = NULL;
        *found = result;
        return 0;
}

/* The repository as the endpoint's host has it: what its URL puts before the repository belongs to
 * the name there. Heap. */
static char *repository_there(const struct fetch_endpoint *endpoint,
                              const struct reference *reference)
{
        const char *host = strstr(endpoint->url, "://");
        const char *path = host ? host + 3 + strcspn(host + 3, "/") : "";

        path += strspn(path, "/");
        size_t length = strlen(path);
        if (endpoint->exact_path && strncmp(path, "v2/", 3) == 0)
                path += 3;
        else if (endpoint->exact_path && length >= 2 && strcmp(path + length - 2, "v2") == 0)
                path += length; /* where the API is, not a part of names */
        length = strlen(path);
        while (length > 0 && path[length - 1] == '/')
                length--;
        return xprintf("%.*s%s%s", (int)length, path, length > 0 ? "/" : "",
                       endpoint->repository ? endpoint->repository : reference->repository);
}

int credentials_give(struct credentials *credentials, const struct reference *reference,
                     struct fetch_endpoint *endpoints, size_t count, struct error *err)
{
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *repository = repository_there(&endpoints[i], reference);
                int r = credentials_find(credentials, endpoints[i].url, repository,
                                         &endpoints[i].credentials, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
