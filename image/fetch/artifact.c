#include "image/fetch/artifact.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"
#include "base/memory.h"
#include "base/table.h"
#include "image/fetch/blob.h"
#include "image/fetch/digest.h"
#include "image/fetch/limits.h"

#define BYTES_MAX (INT64_C(1) << 60) /* others are added to it */
#define TITLE     "org.opencontainers.image.title"

bool artifact_is(const struct manifest *manifest)
{
        /* The last three are what tools say that do not say what it is. */
        static const char *const images[] = {
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.docker.container.image.v1+json",
                "application/json",
                "application/octet-stream",
                "",
        };
        for (size_t i = 0; i < sizeof(images) / sizeof(images[0]); i++)
                if (strcmp(manifest->config.media_type, images[i]) == 0)
                        return false;
        return true;
}

/* ---- titles ---- */

/* Whether each part of the path is a name, so that it leads down only. */
static bool is_inside(const char *title)
{
        int depth = 0;
        if (strlen(title) >= FETCH_PATH_MAX)
                return false;
        for (const char *part = title;; part++) {
                size_t length = strcspn(part, "/");
                if (length == 0 || length > NAME_MAX || ++depth > FETCH_DEPTH_MAX ||
                    (length == 1 && part[0] == '.') || (length == 2 && strncmp(part, "..", 2) == 0))
                        return false;
                part += length;
                if (!*part)
                        return true;
        }
}

static const char *title_of(const struct descriptor *descriptor)
{
        const char *title = descriptor_annotation(descriptor, TITLE);
        return title ? title : strchr(descriptor->digest, ':') + 1;
}

static int make_parents(int fd, const char *title, struct error *err)
{
        AUTO_FREE char *path = xstrdup(title);
        for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                if (mkdirat(fd, path, 0755) < 0 && errno != EEXIST)
                        return error_errno(err, errno, "title %.200s: folder %.200s", title, path);
                *slash = '/';
        }
        return 0;
}

static int read_titles(const struct manifest *manifest, struct artifact *artifact,
                       struct table *seen, struct error *err)
{
        for (size_t i = 0; i < manifest->count; i++) {
                const struct descriptor *descriptor = &manifest->entries[i];
                const char *title = title_of(descriptor);
                if (!is_inside(title))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "artifact: title \"%.200s\" is no relative path without "
                                         "\"..\"",
                                         title);
                if (table_put(seen, title, artifact))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "artifact: title \"%.200s\" comes twice", title);
                if (__builtin_add_overflow(artifact->bytes, descriptor->size, &artifact->bytes) ||
                    artifact->bytes > BYTES_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "manifest: sizes out of range");
                artifact->titles[i] = title;
        }
        return 0;
}

int artifact_open(const struct manifest *manifest, int layers_fd, struct arena *arena,
                  struct artifact *artifact, struct error *err)
{
        struct table *seen = table_new();
        artifact->titles = arena_array(arena, manifest->count + 1, sizeof(*artifact->titles));
        int r = read_titles(manifest, artifact, seen, err);
        table_free(seen);
        if (r < 0)
                return r;
        id_random_hex(artifact->name, LAYER_NAME_LENGTH);
        if (mkdirat(layers_fd, artifact->name, 0700) < 0)
                return error_errno(err, errno, "making the artifact's folder");
        artifact->fd =
                openat(layers_fd, artifact->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (artifact->fd < 0 || fchmod(artifact->fd, 0755) < 0)
                return error_errno(err, errno, "opening the artifact's folder");
        for (size_t i = 0; r == 0 && i < manifest->count; i++)
                r = make_parents(artifact->fd, artifact->titles[i], err);
        return r;
}

/* ---- files ---- */

struct keeping {
        const struct layer_job *job;
        struct digest *digest;
        int fd;
        int64_t bytes;
};

static int keep_part(void *argument, const char *bytes, size_t length, struct error *err)
{
        struct keeping *keeping = argument;
        const struct descriptor *descriptor = keeping->job->descriptor;

        digest_add(keeping->digest, bytes, length);
        for (size_t at = 0; at < length;) {
                ssize_t written = write(keeping->fd, bytes + at, length - at);
                if (written < 0 && errno != EINTR)
                        return error_errno(err, errno, "writing it");
                at += written > 0 ? (size_t)written : 0;
        }
        keeping->bytes += (int64_t)length;
        struct fetch_progress progress = {
                .digest = descriptor->digest, .bytes = keeping->bytes, .total = descriptor->size};
        keeping->job->progress(keeping->job->argument, &progress);
        return 0;
}

int artifact_fetch(const struct artifact *artifact, const char *title, const struct layer_job *job,
                   struct http_client *client, struct error *err)
{
        const struct descriptor *descriptor = job->descriptor;
        AUTO_DIGEST struct digest *digest = digest_new(descriptor->digest);

        if (descriptor->size > job->limits->layer_bytes)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "%lld bytes, more than the bound of %lld for a layer",
                                 (long long)descriptor->size, (long long)job->limits->layer_bytes);
        AUTO_FD int fd = openat(artifact->fd, title,
                                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        /* The umask says less than what an artifact's reader needs. */
        if (fd < 0 || fchmod(fd, 0644) < 0)
                return error_errno(err, errno, "title %.200s", title);
        struct keeping keeping = {.job = job, .digest = digest, .fd = fd};
        int r = ranges_stream(job->ranges, client, descriptor, keep_part, &keeping, err);
        return r < 0 ? r : digest_check(digest, descriptor->digest, err);
}

/* ---- the result ---- */

void artifact_describe(const struct artifact *artifact, const struct manifest *manifest,
                       struct arena *arena, struct fetch_result *result)
{
        struct fetch_layer *layer = arena_array(arena, 1, sizeof(*layer));
        *layer = (struct fetch_layer){
                .diff_id = result->manifest_digest,
                .digest = result->manifest_digest,
                .size = artifact->bytes,
                .directory = arena_strdup(arena, artifact->name),
                .unpacked = artifact->bytes,
                .entries = (int64_t)manifest->count,
        };
        result->layers = layer;
        result->layer_count = 1;
}
