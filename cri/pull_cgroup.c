#include "cri/pull_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/node.h"

#define SLICE_SUFFIX     ".slice"
#define LEAF_PREFIX      "crisp-pull-"
#define RECORD_VERSION   1
#define RECORD_BYTES_MAX 16384
#define REMOVE_WAIT      (2 * NSEC_PER_SEC) /* for a process that is just ending */
#define RETRY_FIRST      NSEC_PER_SEC
#define RETRY_LONGEST    (60 * NSEC_PER_SEC)
#define RECOVERED_MAX    4096 /* records of an earlier daemon */

/* One folder; written down before it is made. */
struct spot {
        char *record; /* path of its file */
        char *parent;
        char *path;
        char *made; /* the topmost folder above it that was missing; or null */
};

/* One at a time: nobody takes the parent away from under who is about to use it. */
static struct task_lock parents;
/* What we made of the configured cgroup's path, which goes with the last pull in it; or null. */
static char *configured_made;

static void spot_free(struct spot *spot)
{
        if (!spot)
                return;
        free(spot->record);
        free(spot->parent);
        free(spot->path);
        free(spot->made);
        free(spot);
}

/* ---- on a worker ---- */

struct job {
        struct spot *spot;
        struct cgroup_leaf *leaf;
        bool of_pod;      /* its parent is a pod's, which is not ours to make */
        int64_t deadline; /* of a removal */
        bool gone;        /* the parent went, too */
        struct error *err;
};

/* The topmost folder of the path that is nowhere, on the heap; null where all is there. */
static char *topmost_missing(const char *path)
{
        for (size_t end = 1;; end++) {
                if (path[end] != '/' && path[end])
                        continue;
                AUTO_FREE char *part = xstrndup(path, end);
                if (!cgroup_exists(&node.cgroups, part))
                        return take_ptr(part);
                if (!path[end])
                        return NULL;
        }
}

static int write_record(const struct spot *spot, struct error *err)
{
        AUTO_JSON json_t *object = json_object();
        json_object_set_new(object, "version", json_integer(RECORD_VERSION));
        json_object_set_new(object, "parent", json_string(spot->parent));
        json_object_set_new(object, "path", json_string(spot->path));
        if (spot->made)
                json_object_set_new(object, "made", json_string(spot->made));
        AUTO_FREE char *text = json_text(object);
        AUTO_FREE char *folder = xstrdup(spot->record);
        *strrchr(folder, '/') = '\0';
        int result = file_make_directories(folder, 0700, err);
        return result < 0 ? result
                          : file_replace_volatile(spot->record, text, strlen(text), 0600, err);
}

static int make_on_worker(void *argument)
{
        /* Those that limit or count what a pull uses; v1's others (devices, freezer) are left at
         * the daemon's. */
        static const char *const controllers[] = {"cpu", "cpuset", "memory", "blkio", "pids", NULL};
        struct job *job = argument;
        struct spot *spot = job->spot;
        AUTO_FREE char *missing = topmost_missing(spot->parent);
        if (job->of_pod && missing)
                return -ENOENT;
        if (!spot->made)
                spot->made = take_ptr(missing);
        int result = write_record(spot, job->err);
        return result < 0 ? result
                          : cgroup_leaf_make(&node.cgroups, spot->path, controllers, job->leaf,
                                             job->err);
}

static int remove_on_worker(void *argument)
{
        struct job *job = argument;
        return cgroup_remove(&node.cgroups, job->spot->path, job->deadline, job->err);
}

static int remove_parent_on_worker(void *argument)
{
        struct job *job = argument;
        const struct spot *spot = job->spot;
        cgroup_parent_remove(&node.cgroups, spot->parent, spot->made);
        job->gone = !cgroup_exists(&node.cgroups, spot->parent);
        unlink(spot->record);
        return 0;
}

/* ---- removed ---- */

/* wait: for a process that is just ending, ns. */
static int take_away(struct spot *spot, int64_t wait, struct error *err)
{
        struct job job = {.spot = spot, .deadline = clock_after(wait), .err = err};
        bool was = task_set_interruptible(false);
        int result = task_offload(remove_on_worker, &job);
        if (result == 0) {
                task_lock(&parents, CLOCK_NEVER);
                task_offload(remove_parent_on_worker, &job);
                if (job.gone && configured_made && spot->made) {
                        /* Whoever makes it from now on may be somebody else. */
                        free(configured_made);
                        configured_made = NULL;
                }
                task_unlock(&parents);
        }
        task_set_interruptible(was);
        return result;
}

/* Something runs in it that was not to be ended, or cannot be. */
static void take_away_later(void *argument)
{
        struct spot *spot = argument;
        int64_t pause = RETRY_FIRST;
        struct error err;
        while (take_away(spot, 0, &err) < 0) {
                if (task_sleep_until(clock_after(pause)) < 0)
                        break;
                pause = pause * 2 < RETRY_LONGEST ? pause * 2 : RETRY_LONGEST;
        }
        spot_free(spot);
}

/* ---- made ---- */

enum cgroup_driver pull_cgroup_driver(const char *configured)
{
        size_t length = strlen(configured), suffix = strlen(SLICE_SUFFIX);
        return length > suffix && strcmp(configured + length - suffix, SLICE_SUFFIX) == 0
                       ? CGROUP_DRIVER_SYSTEMD
                       : CGROUP_DRIVER_CGROUPFS;
}

/* The folder above, on the heap; null: the daemon's own cgroup. */
static int find_parent(const char *pod_cgroup, char **parent, struct error *err)
{
        const char *configured = node.config->images.pull_cgroup;
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        bool pods = strcmp(configured, PULL_CGROUP_POD) == 0;
        const char *wanted = pods ? pod_cgroup : configured;

        *parent = NULL;
        if (!wanted || !*wanted)
                return 0;
        int result = cgroup_place(pods ? node.cgroup_driver : pull_cgroup_driver(configured),
                                  wanted, "pull", &place, err);
        if (result < 0)
                return error_context(err, "images.pull_cgroup");
        /* The root: nothing is limited there. */
        if (strcmp(place.parent, "/") != 0)
                *parent = take_ptr(place.parent);
        return 0;
}

int pull_cgroup_enter(const char *pod_cgroup, const char *name, struct pull_place *place,
                      struct error *err)
{
        AUTO_FREE char *parent = NULL;
        bool pods = strcmp(node.config->images.pull_cgroup, PULL_CGROUP_POD) == 0;
        int result = find_parent(pod_cgroup, &parent, err);
        if (result < 0 || !parent)
                return result;

        struct spot *spot = xcalloc(1, sizeof(*spot));
        struct cgroup_leaf *leaf = xcalloc(1, sizeof(*leaf));
        *leaf = (struct cgroup_leaf)CGROUP_LEAF_INIT;
        spot->record = xprintf("%s/pulls/%s", node.config->run_dir, name);
        spot->path = xprintf("%s/" LEAF_PREFIX "%s", parent, name);
        spot->parent = take_ptr(parent);
        struct job job = {.spot = spot, .leaf = leaf, .of_pod = pods, .err = err};
        task_lock(&parents, CLOCK_NEVER);
        if (!pods)
                spot->made = xstrdup(configured_made);
        result = task_offload(make_on_worker, &job);
        if (!pods && spot->made && !configured_made)
                configured_made = xstrdup(spot->made);
        task_unlock(&parents);
        if (result == -ENOENT && pods) {
                /* Whoever asked has no such pod any more, or never had: it is no reason to pull
                 * nothing. */
                log_info("a pod's cgroup is not there: its image is pulled in the daemon's",
                         "cgroup", spot->parent, NULL);
                spot_free(spot);
                free(leaf);
                return 0;
        }

        *place = (struct pull_place){
                .cgroup = spot->path,
                .cgroup_fd = leaf->fd,
                .cgroup_v1_tasks = (const char *const *)leaf->tasks,
                .spot = spot,
                .leaf = leaf,
        };
        if (result < 0)
                pull_cgroup_leave(place);
        return result;
}

void pull_cgroup_leave(struct pull_place *place)
{
        struct spot *spot = place->spot;
        struct error err;
        if (place->leaf) {
                cgroup_leaf_fini(place->leaf);
                free(place->leaf);
        }
        *place = (struct pull_place)PULL_PLACE_INIT;
        if (!spot)
                return;
        if (take_away(spot, REMOVE_WAIT, &err) == 0) {
                spot_free(spot);
                return;
        }
        log_failure(&err, "a pull's cgroup is tried again until it can be removed", NULL);
        task_start("remove pull's cgroup", take_away_later, spot);
}

/* ---- of an earlier daemon ---- */

static struct spot *read_record(const char *path)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_JSON json_t *record = NULL;
        const char *parent = "", *folder = "", *made = "";
        if (file_read(path, RECORD_BYTES_MAX, &text, NULL) < 0 ||
            json_parse(text.data, text.length, path, &record, NULL) < 0 ||
            json_get_string(record, "parent", path, &parent, NULL) < 0 ||
            json_get_string(record, "path", path, &folder, NULL) < 0 ||
            json_get_string(record, "made", path, &made, NULL) < 0)
                return NULL;
        struct spot *spot = xcalloc(1, sizeof(*spot));
        spot->record = xstrdup(path);
        spot->parent = xstrdup(parent);
        spot->path = xstrdup(folder);
        spot->made = *made ? xstrdup(made) : NULL;
        return spot;
}

void pull_cgroup_recover(void)
{
        AUTO_FREE char *folder = xprintf("%s/pulls", node.config->run_dir);
        AUTO_DIR DIR *dir = opendir(folder);
        struct dirent *entry;
        unsigned count = 0;
        while (dir && count < RECOVERED_MAX && (entry = readdir(dir))) {
                if (entry->d_name[0] == '.')
                        continue;
                AUTO_FREE char *path = xprintf("%s/%s", folder, entry->d_name);
                struct spot *spot = read_record(path);
                count++;
                if (!spot) {
                        log_warning("a record of a pull's cgroup cannot be read: it is removed",
                                    "file", path, NULL);
                        unlink(path);
                        continue;
                }
                if (spot->made && !configured_made &&
                    strcmp(node.config->images.pull_cgroup, PULL_CGROUP_POD) != 0)
                        configured_made = xstrdup(spot->made);
                task_start("remove pull's cgroup", take_away_later, spot);
        }
}
