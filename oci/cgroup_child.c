/* Cgroups below a container's: one for each command that is run in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/cgroup_private.h"

#define FOLDER_MODE     0755
#define PROCS_MAX       (1024 * 1024) /* bytes of a cgroup.procs that are moved at a time */
#define DISSOLVE_ROUNDS 3             /* what forks faster is left where it is */

/* Any would do: membership is all that is wanted. The freezer's also holds a fork bomb still. */
static const char *const child_controllers[] = {
        "freezer", "pids", "devices", "memory", "cpu", "name=systemd",
};

static const struct cgroup_hierarchy *hierarchy_of(const struct cgroup_system *system,
                                                   const char *controller)
{
        for (size_t i = 0; i < system->hierarchy_count; i++)
                if (cgroup_controls(&system->hierarchies[i], controller))
                        return &system->hierarchies[i];
        return NULL;
}

static int make_one(const char *root, const char *path, struct error *err)
{
        AUTO_FREE char *folder = xprintf("%s%s", root, path);
        if (mkdir(folder, FOLDER_MODE) == 0 || errno == EEXIST)
                return 0;
        return error_errno(err, errno, "make cgroup %s", folder);
}

static int make_first(const struct cgroup_system *system, const char *path,
                      struct cgroup_child *child, struct error *err)
{
        for (size_t i = 0; i < sizeof child_controllers / sizeof *child_controllers; i++) {
                const struct cgroup_hierarchy *hierarchy =
                        hierarchy_of(system, child_controllers[i]);
                if (!hierarchy)
                        continue;
                child->controller = child_controllers[i];
                return make_one(hierarchy->mount, path, err);
        }
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "no cgroup hierarchy for a command in a container");
}

/*
 * A new cpuset is left out: while it is there, the container's own could not be made smaller. The
 * process that is started into the container's cpuset hands that on.
 */
static int make_all(const struct cgroup_system *system, const char *path,
                    struct cgroup_child *child, struct error *err)
{
        for (size_t i = 0; i < system->hierarchy_count; i++) {
                const struct cgroup_hierarchy *hierarchy = &system->hierarchies[i];
                if (cgroup_controls(hierarchy, "cpuset")) {
                        int above = (int)(strrchr(path, '/') - path);
                        free(child->cpuset_tasks);
                        child->cpuset_tasks =
                                xprintf("%s%.*s/tasks", hierarchy->mount, above, path);
                        continue;
                }
                int result = make_one(hierarchy->mount, path, err);
                if (result < 0)
                        return result;
        }
        /* On hybrid the container may have no folder in the unified tree. */
        if (system->unified)
                make_one(system->unified, path, NULL);
        return 0;
}

int cgroup_child_make(const struct cgroup_system *system, const char *path, bool all,
                      struct cgroup_child *child, struct error *err)
{
        struct cgroup_child made = {0};
        int result = cgroup_check_path(path, err);
        if (result < 0)
                return result;
        if (system->mode == CGROUP_MODE_V2)
                result = make_one(system->unified, path, err);
        else if (all)
                result = make_all(system, path, &made, err);
        else
                result = make_first(system, path, &made, err);
        if (result < 0) {
                free(made.cpuset_tasks);
                cgroup_remove(system, path, 0, NULL);
                return result;
        }
        *child = made;
        return 0;
}

/* Moves what is in folder to the one above it. */
static void move_up(const char *folder)
{
        AUTO_FREE char *from = xprintf("%s/cgroup.procs", folder);
        AUTO_FREE char *to = xprintf("%s/../cgroup.procs", folder);
        AUTO_BUFFER struct buffer pids = BUFFER_INIT;
        if (file_read(from, PROCS_MAX, &pids, NULL) < 0 || !pids.data)
                return;
        char *state = NULL;
        for (char *pid = strtok_r(pids.data, "\n", &state); pid; pid = strtok_r(NULL, "\n", &state))
                file_write(to, pid, NULL);
}

void cgroup_child_dissolve(const struct cgroup_system *system, const char *path)
{
        const char *roots[CGROUP_ROOTS_MAX];
        size_t count = cgroup_roots(system, roots);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *folder = xprintf("%s%s", roots[i], path);
                for (int round = 0; rmdir(folder) < 0 && errno == EBUSY && round < DISSOLVE_ROUNDS;
                     round++)
                        move_up(folder);
        }
}
