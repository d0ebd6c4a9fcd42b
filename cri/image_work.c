#include "cri/image_work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/node.h"
#include "image/offline.h"
#include "image/sources.h"

#define FINDINGS_IN_A_MESSAGE 500 /* at most OFFLINE_TEXT_MAX bytes each, and some */
#define PROGRESS_PAUSE        (100 * NSEC_PER_MSEC) /* between two messages that tell no more */

#define PART_DIGITS 8 /* of the random name that a save has until it is whole */

/* One call's work, and what of it has not been sent yet. */
struct work {
        int (*run)(struct work *work, struct error *err);
        const void *request; /* the call's */
        struct arena *arena; /* the call's */
        struct task *task;
        bool done;
        int result;
        struct error error;
        struct event changed;

        struct offline_hooks hooks;
        struct arena *findings_arena;
        Crisp__V1__Finding **findings;
        size_t finding_count, finding_room;
        uint64_t dropped;
        bool moved; /* progress has changed */
        char object[OFFLINE_TEXT_MAX];
        Crisp__V1__ImageWorkProgress progress;
        struct offline_summary summary;
        struct offline_loaded *loaded;
        size_t loaded_count;
};

/* ---- what the work reports ---- */

static Crisp__V1__FindingVerdict verdict_of(enum finding_verdict verdict)
{
        switch (verdict) {
        case FINDING_PASS:
                return CRISP__V1__FINDING_VERDICT__FINDING_PASS;
        case FINDING_WARNING:
                return CRISP__V1__FINDING_VERDICT__FINDING_WARNING;
        case FINDING_FAIL:
                return CRISP__V1__FINDING_VERDICT__FINDING_FAIL;
        }
        return CRISP__V1__FINDING_VERDICT__FINDING_UNKNOWN;
}

static char *copied(struct arena *arena, const char *text)
{
        return arena_strdup(arena, text ? text : "");
}

static void note_finding(void *argument, const struct finding *finding)
{
        struct work *work = argument;

        if (work->finding_count == IMAGE_WORK_FINDINGS_MAX) {
                work->dropped++;
                return;
        }
        if (!work->findings_arena)
                work->findings_arena = arena_new();
        if (work->finding_count == work->finding_room) {
                work->finding_room = work->finding_room ? 2 * work->finding_room : 64;
                work->findings =
                        xrealloc(work->findings, work->finding_room * sizeof *work->findings);
        }
        Crisp__V1__Finding *noted = arena_alloc(work->findings_arena, sizeof *noted);
        crisp__v1__finding__init(noted);
        noted->verdict = verdict_of(finding->verdict);
        noted->object = copied(work->findings_arena, finding->object);
        noted->what = copied(work->findings_arena, finding->what);
        noted->text = copied(work->findings_arena, finding->text);
        work->findings[work->finding_count++] = noted;
        event_signal(&work->changed);
}

static uint64_t positive(int64_t number)
{
        return number > 0 ? (uint64_t)number : 0;
}

static void note_progress(void *argument, const struct offline_progress *progress)
{
        struct work *work = argument;

        snprintf(work->object, sizeof work->object, "%s", progress->object ? progress->object : "");
        work->progress.object = work->object;
        work->progress.bytes = positive(progress->bytes);
        work->progress.total = positive(progress->total);
        work->progress.done = progress->done;
        work->progress.count = progress->count;
        work->moved = true;
        event_signal(&work->changed);
}

/* ---- what the client hears ---- */

/* Sends the findings so far, in parts, and the progress. */
static int send_news(struct rpc *rpc, struct work *work, struct error *err)
{
        struct arena *arena = take_ptr(work->findings_arena);
        AUTO_FREE Crisp__V1__Finding **findings = take_ptr(work->findings);
        size_t count = work->finding_count, sent = 0;
        Crisp__V1__ImageWorkProgress progress = work->progress;
        char object[OFFLINE_TEXT_MAX];
        int result = 0;

        work->finding_count = work->finding_room = 0;
        snprintf(object, sizeof object, "%s", work->object);
        progress.object = object;
        while (result == 0 && (sent < count || work->moved)) {
                Crisp__V1__ImageWorkResponse message;
                crisp__v1__image_work_response__init(&message);
                message.findings = findings + sent;
                message.n_findings =
                        count - sent < FINDINGS_IN_A_MESSAGE ? count - sent : FINDINGS_IN_A_MESSAGE;
                message.progress = work->moved ? &progress : NULL;
                sent += message.n_findings;
                work->moved = false;
                result = rpc_send(rpc, &message, err);
        }
        arena_free(arena);
        return result;
}

static int send_end(struct rpc *rpc, struct work *work, struct error *err)
{
        Crisp__V1__ImageWorkResponse message;
        Crisp__V1__ImageWorkSummary summary;

        crisp__v1__image_work_response__init(&message);
        crisp__v1__image_work_summary__init(&summary);
        summary.objects = work->summary.objects;
        summary.passed = work->summary.passed;
        summary.warned = work->summary.warned;
        summary.failed = work->summary.failed;
        summary.unsaid = work->summary.unsaid + work->dropped;
        message.summary = &summary;
        message.loaded = arena_array(rpc->arena, work->loaded_count + 1, sizeof *message.loaded);
        for (size_t i = 0; i < work->loaded_count; i++) {
                Crisp__V1__LoadedImage *image = arena_alloc(rpc->arena, sizeof *image);
                crisp__v1__loaded_image__init(image);
                image->id = work->loaded[i].id;
                image->names = work->loaded[i].names;
                image->n_names = strv_length(work->loaded[i].names);
                message.loaded[message.n_loaded++] = image;
        }
        return rpc_send(rpc, &message, err);
}

static void work_task(void *argument)
{
        struct work *work = argument;

        task_set_interruptible(true);
        work->result = work->run(work, &work->error);
        task_set_interruptible(false);
        work->task = NULL;
        work->done = true;
        event_signal(&work->changed);
}

/* Tells news until the work is done: findings at once, mere progress now and then. */
static int follow(struct rpc *rpc, struct work *work, struct error *err)
{
        int64_t next = 0;

        while (!work->done) {
                bool due = clock_monotonic() >= next;
                if (work->finding_count || (work->moved && due)) {
                        next = clock_after(PROGRESS_PAUSE);
                        int result = send_news(rpc, work, err);
                        if (result < 0)
                                return result;
                        continue;
                }
                if (task_wait(&work->changed, work->moved ? next : CLOCK_NEVER) == -ECANCELED)
                        return error_set(err, ERROR_CANCELLED,
                                         "%s: the client has gone away, or its time is over",
                                         rpc->method);
        }
        return 0;
}

static int do_work(struct rpc *rpc, const void *request,
                   int (*run)(struct work *work, struct error *err), struct error *err)
{
        struct work *work = xcalloc(1, sizeof *work);

        work->run = run;
        work->request = request;
        work->arena = rpc->arena;
        work->hooks = (struct offline_hooks){note_finding, note_progress, work};
        crisp__v1__image_work_progress__init(&work->progress);
        work->task = task_start(rpc->method, work_task, work);
        task_set_interruptible(true);
        int result = follow(rpc, work, err);
        /* The work ends before the call does: it uses what belongs to the call. */
        task_set_interruptible(false);
        if (!work->done)
                task_interrupt(work->task);
        while (!work->done)
                task_wait(&work->changed, CLOCK_NEVER);
        if (result == 0)
                result = send_news(rpc, work, err);
        if (result == 0 && work->result < 0) {
                result = work->result;
                *err = work->error;
        }
        if (result == 0)
                result = send_end(rpc, work, err);
        offline_loaded_free(work->loaded, work->loaded_count);
        arena_free(work->findings_arena);
        free(work->findings);
        free(work);
        return result;
}

/* ---- files ---- */

static int need_path(const char *path, struct error *err)
{
        if (path[0] != '/')
                return error_set(err, ERROR_INVALID_ARGUMENT, "path: %s: not absolute",
                                 *path ? path : "empty");
        return 0;
}

struct open_job {
        const char *path;
        struct error err;
};

/* A pipe is opened without waiting for who writes to it. */
static int open_input(void *argument)
{
        struct open_job *job = argument;
        int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat status;

        if (fd < 0)
                return error_errno(&job->err, errno, "open %s", job->path);
        if (fstat(fd, &status) < 0 || S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
                close(fd);
                return error_set(&job->err, ERROR_INVALID_ARGUMENT,
                                 "%s: neither a file nor a folder nor a pipe", job->path);
        }
        /* From here on reading waits. */
        int flags = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
        return fd;
}

static int open_path(const char *path, int *fd, struct error *err)
{
        struct open_job job = {.path = path};
        int result = need_path(path, err);

        if (result == 0 && (result = task_offload(open_input, &job)) < 0 && err)
                *err = job.err;
        if (result < 0)
                return result;
        *fd = result;
        return 0;
}

/* ---- load, check ---- */

static const char *given(const char *text)
{
        return text[0] ? text : NULL;
}

static int run_load(struct work *work, struct error *err)
{
        const Crisp__V1__ImageLoadRequest *asked = work->request;
        AUTO_FD int fd = -1;
        int result = open_path(asked->path, &fd, err);

        if (result < 0)
                return result;
        struct offline_loading loading = {
                .fd = fd,
                .name = given(asked->name),
                .os = given(asked->os),
                .architecture = given(asked->architecture),
                .variant = given(asked->variant),
        };
        return offline_load(node.offline, &loading, &work->hooks, &work->loaded,
                            &work->loaded_count, err);
}

/* The name in full: of what a short one may stand for, the first. */
static int full_name(const char *name, char **full, struct error *err)
{
        AUTO_FREE struct reference *candidates = NULL;
        size_t count = 0;
        int result = sources_refresh(node.sources, err);

        if (result == 0)
                result = sources_candidates(node.sources, name, &candidates, &count, err);
        if (result == 0)
                *full = reference_text(&candidates[0]);
        return result;
}

static int run_check(struct work *work, struct error *err)
{
        const Crisp__V1__ImageCheckRequest *asked = work->request;
        struct offline_checking checking = {.fd = -1};
        AUTO_FREE char *full = NULL;
        AUTO_FD int fd = -1;
        int result = 0;

        if (!asked->path[0] == !asked->reference[0])
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "either a path or a reference is needed");
        if (asked->path[0])
                result = open_path(asked->path, &fd, err);
        else
                result = full_name(asked->reference, &full, err);
        if (result < 0)
                return result;
        checking.fd = fd;
        checking.reference = full;
        return offline_check(node.offline, &checking, &work->hooks, &work->summary, err);
}

/* ---- save ---- */

/* Where a save goes: beside its place, and there when it is whole. */
struct output {
        const char *path;
        char *beside;
        bool folder;
        int fd;
        struct error err;
};

static int open_output(void *argument)
{
        struct output *output = argument;
        struct stat status;
        bool there = lstat(output->path, &status) == 0;

        if (there && output->folder != S_ISDIR(status.st_mode))
                return error_set(&output->err, ERROR_FAILED_PRECONDITION, "%s: is there and %s",
                                 output->path, output->folder ? "no folder" : "a folder");
        if (there && !output->folder && !S_ISREG(status.st_mode))
                return error_set(&output->err, ERROR_FAILED_PRECONDITION,
                                 "%s: is there and no file", output->path);
        if (output->folder && mkdir(output->beside, 0700) < 0)
                return error_errno(&output->err, errno, "make %s", output->beside);
        output->fd = output->folder
                             ? open(output->beside, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                             : open(output->beside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (output->fd < 0)
                return error_errno(&output->err, errno, "make %s", output->beside);
        return 0;
}

static int keep_output(void *argument)
{
        struct output *output = argument;
        int synced = output->folder ? syncfs(output->fd) : fsync(output->fd);

        if (synced < 0)
                return error_errno(&output->err, errno, "sync %s", output->beside);
        if (rename(output->beside, output->path) < 0)
                return error_errno(&output->err, errno, "rename %s to %s", output->beside,
                                   output->path);
        return file_sync_parent(output->path, &output->err);
}

static int drop_output(void *argument)
{
        struct output *output = argument;

        return file_remove_tree(output->beside, NULL);
}

/* "folder/" is the folder: what is beside it is not in it. */
static const char *without_slashes(struct arena *arena, const char *path)
{
        size_t length = strlen(path);

        while (length > 1 && path[length - 1] == '/')
                length--;
        return arena_strndup(arena, path, length);
}

static int run_save(struct work *work, struct error *err)
{
        const Crisp__V1__ImageSaveRequest *asked = work->request;
        char random[PART_DIGITS + 1];
        struct output output = {.fd = -1};
        int result = need_path(asked->path, err);

        if (result < 0)
                return result;
        if (asked->n_images == 0)
                return error_set(err, ERROR_INVALID_ARGUMENT, "images: empty");
        if (asked->format > CRISP__V1__IMAGE_FORMAT__IMAGE_FORMAT_DOCKER_ARCHIVE ||
            asked->compression > CRISP__V1__IMAGE_COMPRESSION__IMAGE_COMPRESSION_ZSTD)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "format or compression: unknown to this daemon");
        id_random_hex(random, PART_DIGITS);
        output.path = without_slashes(work->arena, asked->path);
        AUTO_FREE char *beside = xprintf("%s.%s.part", output.path, random);
        output.beside = beside;
        output.folder = asked->format == CRISP__V1__IMAGE_FORMAT__IMAGE_FORMAT_OCI_FOLDER;
        result = task_offload(open_output, &output);
        if (result == 0) {
                struct offline_saving saving = {
                        .names = (const char *const *)asked->images,
                        .count = asked->n_images,
                        .format = (enum offline_format)asked->format,
                        .compression = (enum offline_compression)asked->compression,
                        .fd = output.fd,
                };
                result = offline_save(node.offline, &saving, &work->hooks, &output.err);
                if (result == 0)
                        result = task_offload(keep_output, &output);
                if (result < 0)
                        task_offload(drop_output, &output);
        }
        cleanup_fd(&output.fd);
        if (result < 0)
                *err = output.err;
        return result;
}

/* ---- verify, repair ---- */

static int run_verify(struct work *work, struct error *err)
{
        const Crisp__V1__ImageVerifyRequest *asked = work->request;

        return offline_verify(node.offline, (const char *const *)asked->images, asked->n_images,
                              &work->hooks, &work->summary, err);
}

static int run_repair(struct work *work, struct error *err)
{
        const Crisp__V1__ImageRepairRequest *asked = work->request;

        return offline_repair(node.offline, (const char *const *)asked->images, asked->n_images,
                              &work->hooks, &work->summary, err);
}

/* ---- handlers ---- */

int image_work_load_handler(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        return do_work(rpc, request, run_load, err);
}

int image_work_save_handler(struct rpc *rpc, const void *request, void *response, struct error *err)
{
        return do_work(rpc, request, run_save, err);
}

int image_work_check_handler(struct rpc *rpc, const void *request, void *response,
                             struct error *err)
{
        return do_work(rpc, request, run_check, err);
}

int image_work_verify_handler(struct rpc *rpc, const void *request, void *response,
                              struct error *err)
{
        return do_work(rpc, request, run_verify, err);
}

int image_work_repair_handler(struct rpc *rpc, const void *request, void *response,
                              struct error *err)
{
        return do_work(rpc, request, run_repair, err);
}
