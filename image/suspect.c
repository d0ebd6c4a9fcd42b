#include "image/suspect.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"

#define MARKER        "running"
#define BOOT_ID_BYTES 64

struct suspects {
        struct store *store;
        struct offline *offline;
        char *marker;
        char *boot_id;
        bool unclean; /* and not looked at yet */
        struct task *task;
        struct event ended;
        struct suspects_progress progress; /* since 0: no check began */
};

int suspects_new(struct store *store, struct offline *offline, const char *boot_id,
                 struct suspects **suspects, struct error *err)
{
        AUTO_BUFFER struct buffer noted = BUFFER_INIT;
        struct store_usage usage;
        struct error why;

        store_usage(store, &usage);
        AUTO_FREE char *marker = xprintf("%s/" MARKER, usage.directory);
        int r = file_read(marker, BOOT_ID_BYTES, &noted, &why);
        if (r < 0 && r != -ENOENT)
                log_failure(&why, "whether the machine went down in an orderly way is not known",
                            NULL);
        bool same = r == 0 && strcmp(noted.data, boot_id) == 0;
        bool unclean = r != -ENOENT && !same;
        /* Of an earlier boot it stays until all that is suspect was looked at. */
        if (r == -ENOENT)
                r = file_replace(marker, boot_id, strlen(boot_id), 0600, err);
        else
                r = 0;
        if (r < 0)
                return r;
        struct suspects *new = xcalloc(1, sizeof(*new));
        *new = (struct suspects){.store = store, .offline = offline, .unclean = unclean};
        new->marker = take_ptr(marker);
        new->boot_id = xstrdup(boot_id);
        *suspects = new;
        return 0;
}

void suspects_free(struct suspects *suspects)
{
        if (!suspects)
                return;
        free(suspects->marker);
        free(suspects->boot_id);
        free(suspects);
}

bool suspects_are_there(const struct suspects *suspects)
{
        return suspects->unclean;
}

bool suspects_progress(const struct suspects *suspects, struct suspects_progress *progress)
{
        *progress = suspects->progress;
        return progress->since > 0;
}

/* ---- checking ---- */

/* The IDs of images that were pulled last; additional stores' are not ours to mend. */
static char **list(const struct store *store)
{
        const struct image *image;
        int64_t newest = 0;
        char **ids = NULL;

        for (size_t cursor = 0; (image = store_next(store, &cursor));)
                if (!image->home && image->pulled_at > newest)
                        newest = image->pulled_at;
        for (size_t cursor = 0; (image = store_next(store, &cursor));)
                if (!image->home && image->pulled_at >= newest - SUSPECT_TIME)
                        strv_push(&ids, image->id);
        return ids;
}

/* What cannot be mended must not be run. */
static void drop(struct suspects *suspects, const char *id, const struct error *why)
{
        struct error err;

        log_failure(why, "an image is broken and cannot be fetched again: it is removed", "image",
                    id, NULL);
        suspects->progress.removed++;
        if (store_remove(suspects->store, id, &err) < 0)
                log_failure(&err, "a broken image could not be removed", "image", id, NULL);
}

/* 0 when nothing more is to be done about the image. */
static int check(struct suspects *suspects, const char *id)
{
        const char *const names[] = {id};
        struct offline_summary summary = {0};
        struct error err;

        suspects->progress.image = id;
        suspects->progress.step = "verifying";
        int r = offline_verify(suspects->offline, names, 1, NULL, &summary, &err);
        if (r == 0 && summary.failed == 0)
                return 0;
        if (r < 0 && err.code == ERROR_NOT_FOUND)
                return 0; /* it was removed meanwhile */
        if (r < 0) {
                if (r != -ECANCELED)
                        log_failure(&err, "a suspect image could not be looked at", "image", id,
                                    NULL);
                return r;
        }
        log_warning("an image is broken since the machine went down: fetching it again", "image",
                    id, NULL);
        suspects->progress.step = "fetching again";
        r = offline_repair(suspects->offline, names, 1, NULL, &summary, &err);
        if (r == 0 && summary.failed > 0)
                r = error_set(&err, ERROR_DATA_LOSS, "it is still broken after that");
        suspects->progress.mended += r == 0;
        if (r == 0)
                log_info("a broken image is whole again", "image", id, NULL);
        else if (r != -ECANCELED)
                drop(suspects, id, &err);
        return r == -ECANCELED ? r : 0;
}

static int note_work(void *argument)
{
        const struct suspects *suspects = argument;
        return file_replace(suspects->marker, suspects->boot_id, strlen(suspects->boot_id), 0600,
                            NULL);
}

static void check_task(void *argument)
{
        struct suspects *suspects = argument;
        char **ids = list(suspects->store);
        int r = 0;
        bool all = true;

        log_warning("the machine went down while images were kept here: those that were pulled "
                    "last are looked at again",
                    NULL);
        suspects->progress = (struct suspects_progress){
                .since = clock_real(), .step = "", .images = (unsigned)strv_length(ids)};
        task_set_interruptible(true);
        for (char **id = ids; id && *id && r != -ECANCELED; id++) {
                r = check(suspects, *id);
                all &= r == 0;
                suspects->progress.looked_at += r == 0;
                suspects->progress.unknown += r < 0;
        }
        suspects->progress.image = NULL;
        suspects->progress.step = "";
        task_set_interruptible(false);
        strv_free(ids);
        if (all) {
                suspects->unclean = false;
                task_offload(note_work, suspects);
        }
        suspects->task = NULL;
        event_signal(&suspects->ended);
}

void suspects_check(struct suspects *suspects)
{
        if (suspects->unclean && !suspects->task)
                suspects->task = task_start("check suspect images", check_task, suspects);
}

static int forget_work(void *argument)
{
        const struct suspects *suspects = argument;
        return unlink(suspects->marker) < 0 ? -errno : 0;
}

void suspects_stop(struct suspects *suspects)
{
        if (suspects->task)
                task_interrupt(suspects->task);
        while (suspects->task)
                task_wait(&suspects->ended, CLOCK_NEVER);
        if (!suspects->unclean)
                task_offload(forget_work, suspects);
}
