#include "oci/cpu_isolation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "oci/cgroup_private.h"
#include "oci/setting.h"

#define NOTE      "exclusive" /* "PROCESSORS PATH" */
#define CPUS      "cpuset.cpus"
#define EXCLUSIVE "cpuset.cpus.exclusive"
#define PARTITION "cpuset.cpus.partition"

/* ---- sets in files ---- */

/* Adds cpus to the set in a file of the cgroup, or takes them away. An empty set is written as an
 * empty line: the kernel takes nothing for no write at all. */
static int change_set(const char *unified, const char *path, const char *file,
                      const struct cpu_list *cpus, bool add, struct error *err)
{
        AUTO_FREE char *name = xprintf("%s%s/%s", unified, path, file);
        AUTO_FREE char *text = setting_read(name, err);
        struct cpu_list now;
        if (!text)
                return err->number;
        int result = cpu_list_parse(text, &now, err);
        if (result < 0)
                return error_context(err, "%s", name);
        struct cpu_list wanted = now;
        if (add)
                cpu_list_join(&wanted, cpus);
        else
                cpu_list_remove(&wanted, cpus);
        if (cpu_list_equal(&wanted, &now))
                return 0;
        AUTO_FREE char *list = cpu_list_text(&wanted);
        return file_write(name, *list ? list : "\n", err);
}

/* A set of its own that has not all of cpus would hide them from what is below; an empty one is the
 * set of the folder above. */
static int widen(const char *unified, const char *path, const struct cpu_list *cpus,
                 struct error *err)
{
        AUTO_FREE char *name = xprintf("%s%s/" CPUS, unified, path);
        AUTO_FREE char *text = setting_read(name, err);
        if (!text)
                return err->number;
        return *text ? change_set(unified, path, CPUS, cpus, true, err) : 0;
}

/* ---- v2 ---- */

static int hand_down(const char *unified, const char *path, const struct cpu_list *cpus,
                     struct error *err)
{
        AUTO_FREE char *above = xstrdup(path);
        for (char *at = strchr(above + 1, '/'); at; at = strchr(at + 1, '/')) {
                *at = '\0';
                int result = widen(unified, above, cpus, err);
                if (result == 0)
                        result = change_set(unified, above, EXCLUSIVE, cpus, true, err);
                if (result < 0)
                        return result;
                *at = '/';
        }
        return change_set(unified, path, EXCLUSIVE, cpus, true, err);
}

static int make_partition(const char *unified, const char *path, struct error *err)
{
        AUTO_FREE char *name = xprintf("%s%s/" PARTITION, unified, path);
        int result = file_write(name, "isolated", err);
        if (result < 0)
                return result;
        /* The kernel takes the word, and says here what it made of it. */
        AUTO_FREE char *state = setting_read(name, err);
        if (!state)
                return err->number;
        if (strcmp(state, "isolated") != 0)
                return error_set(err, ERROR_FAILED_PRECONDITION, "%s: %.200s", name, state);
        return 0;
}

static int isolate(const struct cgroup_system *system, const char *path,
                   const struct cpu_list *cpus, const char *folder, const char *owner,
                   struct error *err)
{
        AUTO_FREE char *probe = xprintf("%s%s/" EXCLUSIVE, system->unified, path);
        if (access(probe, F_OK) < 0)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "%s is not there: load balancing can be turned off for a "
                                 "container from Linux 6.7 on",
                                 probe);
        AUTO_FREE char *list = cpu_list_text(cpus);
        AUTO_FREE char *note = xprintf("%s %s", list, path);
        int result = setting_note(folder, owner, NOTE, note, err);
        if (result == 0)
                result = hand_down(system->unified, path, cpus, err);
        return result < 0 ? result : make_partition(system->unified, path, err);
}

int cpu_isolation_begin(const struct cgroup_system *system, const char *path,
                        const struct cpu_list *cpus, const char *folder, const char *owner,
                        struct error *err)
{
        int result = cgroup_check_path(path, err);
        if (result < 0)
                return result;
        if (system->mode == CGROUP_MODE_V2)
                return isolate(system, path, cpus, folder, owner, err);
        AUTO_FREE char *file = cgroup_file(system, path, "cpuset", "cpuset.sched_load_balance");
        if (!file)
                return error_set(err, ERROR_FAILED_PRECONDITION, "there is no cpuset controller");
        return file_write(file, "0", err);
}

int cpu_isolation_end(const struct cgroup_system *system, const char *folder, const char *owner,
                      struct error *err)
{
        AUTO_FREE char *note = setting_noted(folder, owner, NOTE);
        char *path = note ? strchr(note, ' ') : NULL;
        struct cpu_list cpus;
        if (!path || system->mode != CGROUP_MODE_V2)
                return 0;
        *path++ = '\0';
        int result = cpu_list_parse(note, &cpus, err);
        if (result == 0)
                result = cgroup_check_path(path, err);
        /* From below: a folder cannot take back what one below it has. */
        for (char *end = path + strlen(path); result == 0 && end > path; end = strrchr(path, '/')) {
                *end = '\0';
                AUTO_FREE char *file = xprintf("%s%s/" EXCLUSIVE, system->unified, path);
                if (*path && access(file, F_OK) == 0)
                        result = change_set(system->unified, path, EXCLUSIVE, &cpus, false, err);
                if (result < 0 && access(file, F_OK) < 0)
                        result = 0; /* its owner has just removed it */
        }
        if (result == 0)
                setting_forget(folder, owner, NOTE);
        return result;
}

int cpu_isolation_lift_quota(const struct cgroup_system *system, const char *path,
                             struct error *err)
{
        bool v2 = system->mode == CGROUP_MODE_V2;
        AUTO_FREE char *file =
                cgroup_file(system, path, "cpu", v2 ? "cpu.max" : "cpu.cfs_quota_us");
        if (!file || access(file, F_OK) < 0)
                return 0;
        return file_write(file, v2 ? "max" : "-1", err);
}
