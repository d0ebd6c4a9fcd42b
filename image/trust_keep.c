/* What was verified, on its way into the store and out of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/task.h"
#include "image/line.h"
#include "image/trust_private.h"

#define DOCUMENT_MAX (8u << 20) /* bytes of a manifest or a configuration */

/* ---- what the store keeps ---- */

int trust_read_stored(const char *path, struct arena *arena, const char **index_digest,
                      struct signatures *signatures, struct error *err)
{
        AUTO_BUFFER struct buffer bytes = BUFFER_INIT;
        AUTO_JSON json_t *value = NULL;
        const char *digest = NULL;

        *signatures = (struct signatures){0};
        *index_digest = NULL;
        int r = file_read(path, SIGNATURES_TEXT_MAX, &bytes, err);
        if (r == -ENOENT)
                return 0;
        if (r < 0 ||
            (r = json_parse(bytes.data ? bytes.data : "", bytes.length, path, &value, err)) < 0 ||
            (r = line_get_text(value, "index_digest", path, arena, &digest, err)) < 0)
                return r;
        if (digest && !digest_is_valid(digest))
                return error_set(err, ERROR_INVALID_ARGUMENT, "%s: not a digest", path);
        *index_digest = digest;
        r = signatures_from_json(json_object_get(value, "signatures"), arena, signatures, err);
        return r < 0 ? error_context(err, "%s", path) : 0;
}

struct stage_job {
        const char *stored; /* path of what the store has, or will have */
        const char *staging;
        const struct trust_subject *subject;
        const struct signatures *signatures;
        struct error *err;
};

static int stage_work(void *argument)
{
        struct stage_job *job = argument;
        AUTO_ARENA struct arena *arena = arena_new();
        AUTO_FREE char *path = xprintf("%s/%s", job->staging, STORE_SIGNATURES_STAGED);
        struct signatures known = {0}, all;
        const char *index_digest = NULL;

        /* What cannot be read is replaced. */
        trust_read_stored(job->stored, arena, &index_digest, &known, NULL);
        signatures_merge(job->signatures, &known, arena, &all);
        AUTO_JSON json_t *object = json_object();
        if (job->subject->index_digest)
                index_digest = job->subject->index_digest;
        line_put_string(object, "index_digest", index_digest);
        json_object_set_new(object, "signatures", signatures_to_json(&all));
        AUTO_FREE char *text = line_finish(object);
        return file_replace(path, text, strlen(text), 0600, job->err);
}

int trust_stage(const struct store *store, const char *staging, const struct trust_subject *subject,
                const struct signatures *signatures, struct error *err)
{
        AUTO_FREE char *stored = store_signatures_path(store, subject->manifest_digest);
        struct stage_job job = {stored, staging, subject, signatures, err};
        return task_offload(stage_work, &job);
}

/* ---- what came after the verifying ---- */

struct staged_job {
        const char *staging;
        const char *manifest_digest, *config_digest;
        struct error *err;
};

static bool digest_fits(const struct buffer *bytes, const char *digest)
{
        static const char prefix[] = "sha256:";
        char hex[SHA256_HEX + 1];
        if (strncmp(digest, prefix, strlen(prefix)) != 0)
                return true; /* SHA-512 is crisp-image's alone */
        sha256_hex(bytes->data, bytes->length, hex);
        return strcmp(hex, digest + strlen(prefix)) == 0;
}

static int staged_work(void *argument)
{
        struct staged_job *job = argument;
        AUTO_BUFFER struct buffer manifest = BUFFER_INIT, config = BUFFER_INIT;
        AUTO_FD int fd = open(job->staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int r;

        if (fd < 0)
                return error_errno(job->err, errno, "open %s", job->staging);
        if ((r = file_read_plain(fd, "manifest.json", DOCUMENT_MAX, &manifest, job->err)) < 0 ||
            (r = file_read_plain(fd, "config.json", DOCUMENT_MAX, &config, job->err)) < 0)
                return r;
        /* The manifest is what was signed, and names its configuration, which names the layers: the
         * store compares those. An artifact's configuration is its manifest, which cannot name
         * itself. */
        if (!digest_fits(&manifest, job->manifest_digest) ||
            !digest_fits(&config, job->config_digest) ||
            (strcmp(job->config_digest, job->manifest_digest) != 0 &&
             !memmem(manifest.data, manifest.length, job->config_digest,
                     strlen(job->config_digest))))
                return error_set(job->err, ERROR_INTERNAL,
                                 "crisp-image brings another image than was verified");
        return 0;
}

int trust_check_staged(const char *staging, const char *manifest_digest, const char *config_digest,
                       struct error *err)
{
        struct staged_job job = {staging, manifest_digest, config_digest, err};
        return task_offload(staged_work, &job);
}
