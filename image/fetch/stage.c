#include "image/fetch/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "image/fetch/limits.h"
#include "image/fetch/stop.h"
#include "image/fetch/tree.h"

#define SYNC_REPORT_PERIOD 5000 /* ms */

int stage_open(const char *path, struct stage *stage, struct error *err)
{
        static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

        stage->fd = open(path, flags);
        if (stage->fd < 0)
                return error_errno(err, errno, "staging folder %s", path);
        if (mkdirat(stage->fd, "layers", 0700) < 0 ||
            (stage->layers_fd = openat(stage->fd, "layers", flags)) < 0)
                return error_errno(err, errno, "staging folder %s: layers", path);
        if (mkdirat(stage->fd, "tars", 0700) < 0 ||
            (stage->tars_fd = openat(stage->fd, "tars", flags)) < 0)
                return error_errno(err, errno, "staging folder %s: tars", path);
        return 0;
}

void stage_fini(struct stage *stage)
{
        cleanup_fd(&stage->fd);
        cleanup_fd(&stage->layers_fd);
        cleanup_fd(&stage->tars_fd);
}

int stage_keep(const struct stage *stage, const char *name, const struct buffer *bytes,
               struct error *err)
{
        AUTO_FD int fd =
                openat(stage->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_errno(err, errno, "staging: %s", name);
        for (size_t at = 0; at < bytes->length;) {
                ssize_t written = write(fd, bytes->data + at, bytes->length - at);
                if (written < 0)
                        return error_errno(err, errno, "staging: %s", name);
                at += (size_t)written;
        }
        return 0;
}

static const char *const *copy_paths(struct arena *arena, const char *const *paths, size_t count)
{
        const char **copy = arena_array(arena, count + 1, sizeof(*copy));
        for (size_t i = 0; i < count; i++)
                copy[i] = arena_strdup(arena, paths[i]);
        return copy;
}

void stage_copy_layer(struct arena *arena, struct fetch_layer *layer)
{
        layer->directory = arena_strdup(arena, layer->directory);
        layer->opaque = copy_paths(arena, layer->opaque, layer->opaque_count);
        layer->implied = copy_paths(arena, layer->implied, layer->implied_count);
        struct fetch_link *links = arena_array(arena, layer->link_count + 1, sizeof(*links));
        for (size_t i = 0; i < layer->link_count; i++) {
                links[i].path = arena_strdup(arena, layer->links[i].path);
                links[i].target = arena_strdup(arena, layer->links[i].target);
        }
        layer->links = links;
}

void stage_describe(const struct layer_job *job, bool unpacked, struct arena *arena,
                    struct fetch_layer *layer)
{
        *layer = (struct fetch_layer){
                .diff_id = job->diff_id,
                .digest = job->descriptor->digest,
                .size = job->descriptor->size,
        };
        if (!unpacked)
                return;

        layer->directory = job->name;
        layer->unpacked = job->unpacked;
        layer->entries = job->entries;
        tree_notes(job->tree, layer);
        stage_copy_layer(arena, layer);
}

struct syncing {
        int fd;
        int number; /* errno of the sync */
        struct stop done;
};

static void *run_sync(void *argument)
{
        struct syncing *syncing = argument;

        syncing->number = syncfs(syncing->fd) < 0 ? errno : 0;
        stop_set(&syncing->done);
        return NULL;
}

int stage_sync(const struct stage *stage, void (*waiting)(void *argument), void *argument,
               struct error *err)
{
        struct syncing syncing = {.fd = stage->fd};
        pthread_t thread;

        stop_init(&syncing.done);
        int number = pthread_create(&thread, NULL, run_sync, &syncing);
        if (number == 0) {
                while (!stop_wait(&syncing.done, SYNC_REPORT_PERIOD)) {
                        if (waiting)
                                waiting(argument);
                }
                pthread_join(thread, NULL);
                number = syncing.number;
        }
        stop_fini(&syncing.done);
        return number == 0 ? 0 : error_errno(err, number, "syncing the image to disk");
}

static int64_t or_default(int64_t value, int64_t fallback)
{
        return value > 0 ? value : fallback;
}

void stage_complete_limits(struct fetch_limits *limits)
{
        limits->layer_bytes = or_default(limits->layer_bytes, FETCH_LAYER_BYTES);
        limits->unpacked_bytes = or_default(limits->unpacked_bytes, FETCH_UNPACKED_BYTES);
        limits->entries = or_default(limits->entries, FETCH_ENTRIES);
        limits->parallel_layers = or_default(limits->parallel_layers, FETCH_PARALLEL_LAYERS);
        if (limits->parallel_layers > FETCH_PARALLEL_MAX)
                limits->parallel_layers = FETCH_PARALLEL_MAX;
        limits->connect_timeout = or_default(limits->connect_timeout, FETCH_CONNECT_TIMEOUT);
        limits->stall_timeout = or_default(limits->stall_timeout, FETCH_STALL_TIMEOUT);
        limits->retries = or_default(limits->retries, FETCH_RETRIES);
        limits->min_rate = or_default(limits->min_rate, FETCH_MIN_RATE);
        limits->retry_delay_max = or_default(limits->retry_delay_max, FETCH_RETRY_DELAY_MAX);
}
