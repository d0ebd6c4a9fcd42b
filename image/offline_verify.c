/* Verifying what the store has. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/memory.h"
#include "base/task.h"
#include "image/offline_private.h"

#define BATCH_LAYERS 20000 /* named in one request, which has a bound of its own */

/* ---- marks that only the daemon may see ---- */

struct mark_job {
        char *path;
        const char *const *paths;
        size_t count;
        const char *wrong; /* the first folder without its mark */
        struct error *err;
};

static int mark_work(void *argument)
{
        struct mark_job *job = argument;
        AUTO_FD int fd = open(job->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return error_errno(job->err, errno, "open %s", job->path);
        job->wrong = layer_first_unmarked(fd, job->paths, job->count);
        return 0;
}

static bool is_known(const struct offline_run *run, const char *diff_id)
{
        return digest_is_valid(diff_id) && store_has_layer(run->offline->store, diff_id);
}

static int check_marks(struct offline_run *run, const struct offline_reply *reply,
                       struct arena **arena, struct error *err)
{
        struct error mark_err = {0};
        char object[REFERENCE_DIGEST_MAX + sizeof("layer ")], text[OFFLINE_TEXT_MAX];
        (void)arena;

        if (reply->kind != OFFLINE_SAYS_OPAQUE || !is_known(run, reply->diff_id))
                return error_set(err, ERROR_INTERNAL, "crisp-image says what nobody asked for");
        if (reply->opaque_count == 0)
                return 0;
        struct mark_job job = {
                .path = store_layer_path(run->offline->store, reply->diff_id),
                .paths = reply->opaque,
                .count = reply->opaque_count,
                .err = &mark_err,
        };
        int r = task_offload(mark_work, &job);
        free(job.path);
        if (r == 0 && !job.wrong)
                return 0;
        snprintf(object, sizeof(object), "layer %s", reply->diff_id);
        if (r < 0)
                snprintf(text, sizeof(text), "%.900s", mark_err.message);
        else
                snprintf(text, sizeof(text),
                         "%.200s: it is not marked to hide what lower layers have", job.wrong);
        offline_tell(run, &(struct finding){FINDING_FAIL, object, "opaque mark", text});
        return 0;
}

/* ---- the whole ---- */

/* Verifies images from first on, as many as fit into a request; returns how many, or below 0. */
static ssize_t verify_batch(struct offline_run *run, const struct offline_hold *hold, size_t first,
                            struct error *err)
{
        AUTO_ARENA struct arena *arena = arena_new();
        struct offline_image *images =
                arena_array(arena, hold->count - first, sizeof(struct offline_image));
        struct offline_request request = {.kind = OFFLINE_VERIFY, .images = images};
        size_t layers = 0;
        bool ended;

        offline_name_stores(run->offline->store, arena, &request);
        while (first + request.image_count < hold->count && layers < BATCH_LAYERS &&
               request.image_count < OFFLINE_IMAGES_MAX) {
                offline_describe(run->offline->store, hold->ids[first + request.image_count], arena,
                                 &images[request.image_count]);
                layers += images[request.image_count++].layer_count;
        }
        int r = offline_run(run, &request, -1, &ended, err);
        return r < 0 ? r : (ssize_t)request.image_count;
}

int offline_verify_held(struct offline_run *run, const struct offline_hold *hold, struct error *err)
{
        run->on_other = check_marks;
        for (size_t at = 0; at < hold->count;) {
                ssize_t done = verify_batch(run, hold, at, err);
                if (done < 0)
                        return (int)done;
                at += (size_t)done;
        }
        return 0;
}

int offline_verify(struct offline *offline, const char *const *names, size_t count,
                   const struct offline_hooks *hooks, struct offline_summary *summary,
                   struct error *err)
{
        struct offline_run run = {.offline = offline, .hooks = hooks};
        AUTO_OFFLINE_HOLD struct offline_hold hold = {0};

        int r = offline_hold_images(&hold, offline->store, names, count, err);
        if (r == 0)
                r = offline_verify_held(&run, &hold, err);
        if (r < 0)
                return error_context(err, "verify images");
        *summary = run.summary;
        return 0;
}
