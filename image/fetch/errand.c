#include "image/fetch/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/fetch/check.h"
#include "image/fetch/import.h"
#include "image/fetch/report.h"
#include "image/fetch/save.h"
#include "image/fetch/stored.h"
#include "image/fetch/verify.h"
#include "image/fetch/window.h"

#define NICE          10 /* behind whatever the node is there for */
#define PLACE_ARCHIVE "/archive"

static bool needs_store(const struct offline_request *request)
{
        return request->kind == OFFLINE_VERIFY || request->kind == OFFLINE_SAVE;
}

static bool needs_fd(const struct offline_request *request)
{
        return request->kind != OFFLINE_VERIFY && !request->remote;
}

static int add_folder(struct confine_box *box, const char *path, const char *place, bool writable,
                      struct error *err)
{
        if (!path || path[0] != '/')
                return error_set(err, ERROR_INVALID_ARGUMENT, "request: %s: no path", place + 1);
        box->folders[box->folder_count++] =
                (struct confine_folder){.path = path, .place = place, .writable = writable};
        return 0;
}

/* A folder's descriptor would lead out of the box: the folder becomes one of the box's. */
static int take_archive(struct errand *errand, struct arena *arena, struct confine_box *box,
                        struct error *err)
{
        char link[32], path[PATH_MAX];
        struct stat status;
        AUTO_FD int fd = fcntl(OFFLINE_FD, F_DUPFD_CLOEXEC, OFFLINE_FD + 1);

        if (fd < 0 || fstat(fd, &status) < 0)
                return error_errno(err, errno, "the archive's descriptor");
        if (!S_ISDIR(status.st_mode)) {
                errand->fd = take_fd(&fd);
                return 0;
        }
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof(path) - 1);
        if (length < 0)
                return error_errno(err, errno, "the archive's folder");
        errand->has_folder = true;
        return add_folder(box, arena_strndup(arena, path, (size_t)length), PLACE_ARCHIVE,
                          errand->request.kind == OFFLINE_SAVE, err);
}

/* The box's first folders. */
static int add_stores(const struct offline_request *request, struct arena *arena,
                      struct confine_box *box, struct error *err)
{
        int r = add_folder(box, request->store, CONFINE_STORE, false, err);
        for (size_t i = 0; r == 0 && i < request->additional_count; i++)
                r = add_folder(box, request->additional[i],
                               arena_printf(arena, CONFINE_STORE "%zu", i + 1), false, err);
        return r;
}

static int open_stores(const struct offline_request *request, const struct confine_box *box,
                       struct stored *stored, struct error *err)
{
        for (size_t i = 0; i <= request->additional_count; i++) {
                int fd =
                        open(box->folders[i].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0)
                        return error_errno(err, errno, "the image store");
                stored->fds[stored->count++] = fd;
        }
        return 0;
}

static void close_stores(struct stored *stored)
{
        for (size_t i = 0; i < stored->count; i++)
                close(stored->fds[i]);
}

static int open_named(struct errand *errand, struct arena *arena, struct confine_box *box,
                      struct error *err)
{
        const struct offline_request *request = &errand->request;
        int r = needs_store(request)
                        ? add_stores(request, arena, box, err)
                        : add_folder(box, request->fetch.staging, CONFINE_STAGING, true, err);

        box->network = request->remote;
        if (r == 0 && needs_fd(request))
                r = take_archive(errand, arena, box, err);
        close(OFFLINE_FD);
        if (r == 0 && request->remote)
                r = load_request(&request->fetch, &errand->loaded, err);
        return r;
}

int errand_open(const char *line, size_t length, struct arena *arena, struct errand *errand,
                struct confine_box *box, struct error *err)
{
        struct errand opened = {.fd = -1};
        struct confine_box made = {0};

        /* In the box there is no such call. */
        setpriority(PRIO_PROCESS, 0, NICE);
        int r = offline_request_decode(line, length, arena, &opened.request, err);

        if (r == 0)
                r = open_named(&opened, arena, &made, err);
        request_wipe(&opened.request.fetch);
        if (r < 0) {
                errand_fini(&opened);
                return r;
        }
        *errand = opened;
        *box = made;
        return 0;
}

void errand_fini(struct errand *errand)
{
        cleanup_fd(&errand->fd);
        loaded_fini(&errand->loaded);
}

static int dispatch(struct errand *errand, const struct stored *stored, struct report *report,
                    struct arena *arena, struct error *err)
{
        const struct offline_request *request = &errand->request;

        switch (request->kind) {
        case OFFLINE_VERIFY:
                return verify_run(request, stored, report, err);
        case OFFLINE_SAVE:
                return save_run(request, stored, errand->fd, report, err);
        case OFFLINE_LOAD:
                return import_run(request, errand->fd, report, arena, err);
        case OFFLINE_CHECK:
                return check_run(request, &errand->loaded, errand->fd, report, arena, err);
        default:
                return error_set(err, ERROR_INVALID_ARGUMENT, "request: kind: a pull");
        }
}

int errand_run(struct errand *errand, const struct confine_box *box,
               void (*say)(void *, const struct offline_reply *), void *argument,
               struct arena *arena, struct error *err)
{
        static const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        struct report report = {.say = say, .argument = argument};
        CLEANUP(close_stores) struct stored stored = {0};
        AUTO_FD int staging = -1;

        if (needs_store(&errand->request)) {
                int r = open_stores(&errand->request, box, &stored, err);
                if (r < 0)
                        return r;
        } else {
                errand->request.fetch.staging = box->folders[0].path;
                staging = open(errand->request.fetch.staging, flags);
        }
        window_use_folder(staging);
        if (errand->has_folder) {
                errand->fd = open(box->folders[box->folder_count - 1].path, flags);
                if (errand->fd < 0)
                        return error_errno(err, errno, "the archive's folder");
        }
        int r = dispatch(errand, &stored, &report, arena, err);
        window_use_folder(-1);
        return r;
}
