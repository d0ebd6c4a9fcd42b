#include "cri/orphan.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/task.h"
#include "cri/node.h"
#include "network/namespace.h"

#define RUNTIME_DEADLINE (30 * NSEC_PER_SEC)
#define CGROUP_DEADLINE  (10 * NSEC_PER_SEC)
#define MOUNTINFO_MAX    (256 * 1024 * 1024) /* bytes */
#define MOUNT_POINT      5                   /* the field of a line of mountinfo */

struct orphan {
        char *id;
        bool is_pod;
        struct error err;
};

/* ---- cgroups ---- */

/* The path below root of the folder of this name, on the heap; null where there is none. */
static char *find_folder(const char *root, const char *path, const char *name, unsigned depth)
{
        AUTO_FREE char *folder = xprintf("%s%s", root, path);
        AUTO_DIR DIR *entries = depth < CGROUP_DEPTH_MAX ? opendir(folder) : NULL;
        char *found = NULL;
        for (struct dirent *entry; !found && entries && (entry = readdir(entries));) {
                if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
                        continue;
                char *below = xprintf("%s/%s", path, entry->d_name);
                if (strcmp(entry->d_name, name) == 0)
                        return below;
                found = find_folder(root, below, name, depth + 1);
                free(below);
        }
        return found;
}

/* Wherever its pod had it: the pod's configuration may be lost as well. */
static char *find_cgroup(const char *id)
{
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        const struct cgroup_system *system = &node.cgroups;
        if (cgroup_place(node.cgroup_driver, "", id, &place, NULL) < 0)
                return NULL;
        const char *name = strrchr(place.path, '/') + 1;
        char *found = system->unified ? find_folder(system->unified, "", name, 0) : NULL;
        for (size_t i = 0; !found && i < system->hierarchy_count; i++)
                found = find_folder(system->hierarchies[i].mount, "", name, 0);
        return found;
}

static int end_cgroup(const char *path, struct error *err)
{
        int result = cgroup_kill(&node.cgroups, path, clock_after(CGROUP_DEADLINE), err);
        return result < 0 ? result
                          : cgroup_remove(&node.cgroups, path, clock_after(CGROUP_DEADLINE), err);
}

/* ---- mounts ---- */

/* The mount point of a line, without its escapes; null where the line has none. */
static char *mount_point(char *line)
{
        for (unsigned i = 1; line && i < MOUNT_POINT; i++)
                line = (line = strchr(line, ' ')) ? line + 1 : NULL;
        if (!line)
                return NULL;
        line[strcspn(line, " ")] = '\0';
        char *to = line;
        for (const char *from = line; *from; to++) {
                unsigned code;
                if (*from == '\\' && sscanf(from, "\\%3o", &code) == 1) {
                        *to = (char)code;
                        from += 4;
                } else {
                        *to = *from++;
                }
        }
        *to = '\0';
        return line;
}

/* Later mounts lie on earlier ones, so they go first. */
static int unmount_below(const char *folder, struct error *err)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        size_t length = strlen(folder);
        char **paths = xcalloc(1, sizeof *paths);
        int result = file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &text, err);
        char *rest = result == 0 ? text.data : NULL;
        for (char *line; rest && (line = strsep(&rest, "\n"));) {
                const char *path = mount_point(line);
                if (path && strncmp(path, folder, length) == 0 && path[length] == '/')
                        strv_push(&paths, path);
        }
        for (size_t i = strv_length(paths); result == 0 && i-- > 0;)
                if (umount2(paths[i], MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL &&
                    errno != ENOENT)
                        result = error_errno(err, errno, "unmount %s", paths[i]);
        strv_free(paths);
        return result;
}

static int remove_folder(const char *folder, struct error *err)
{
        int result = unmount_below(folder, err);
        return result < 0 ? result : file_remove_tree(folder, err);
}

/* ---- the two kinds ---- */

static int end_container_on_worker(void *argument)
{
        struct orphan *orphan = argument;
        AUTO_FREE char *cgroup = find_cgroup(orphan->id);
        AUTO_FREE char *folder = xprintf("%s/%s", node.run_containers_dir, orphan->id);
        int result = cgroup ? end_cgroup(cgroup, &orphan->err) : 0;
        return result < 0 ? result : remove_folder(folder, &orphan->err);
}

/* Its handler nobody knows any more, so nobody can ask it; what it has in its cgroup goes with it.
 */
static int end_shim(struct orphan *orphan)
{
        AUTO_FREE char *name = xprintf("%s-shim", orphan->id);
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = cgroup_place(CGROUP_DRIVER_CGROUPFS, node.config->runtime.monitor_cgroup, name,
                                  &place, &orphan->err);
        return result < 0 ? result : end_cgroup(place.path, &orphan->err);
}

static int end_pod_on_worker(void *argument)
{
        struct orphan *orphan = argument;
        const char *chosen = node.config->runtime.namespaces_dir;
        AUTO_FREE char *name = xprintf("%s-pause", orphan->id);
        AUTO_FREE char *folder = xprintf("%s/%s", node.run_pods_dir, orphan->id);
        AUTO_FREE char *elsewhere = xprintf("%s/%s", *chosen ? chosen : folder, orphan->id);
        AUTO_CGROUP_PLACE struct cgroup_place place = {0};
        int result = cgroup_place(CGROUP_DRIVER_CGROUPFS, node.config->runtime.monitor_cgroup, name,
                                  &place, &orphan->err);
        if (result == 0)
                result = end_cgroup(place.path, &orphan->err);
        if (result == 0)
                result = end_shim(orphan);
        if (result == 0)
                result = namespace_unpin(elsewhere, &orphan->err);
        return result < 0 ? result : remove_folder(folder, &orphan->err);
}

/* Of the runtimes that could have made it one knows it, and the others do not mind. */
static void delete_from_runtimes(const char *id)
{
        for (size_t i = 0; i < node.handler_count; i++) {
                struct error err = {0};
                const struct runtime_handler *handler = &node.handlers[i];
                if (runtime_delete(handler, id, true, clock_after(RUNTIME_DEADLINE), &err) < 0)
                        log_failure(&err, "a runtime does not delete a container without a record",
                                    "container", id, "handler", handler->name, NULL);
        }
}

static void end_task(void *argument)
{
        struct orphan *orphan = argument;
        const char *kind = orphan->is_pod ? "pod" : "container";
        if (!orphan->is_pod)
                delete_from_runtimes(orphan->id);
        if (task_offload(orphan->is_pod ? end_pod_on_worker : end_container_on_worker, orphan) < 0)
                log_failure(&orphan->err, "ending what has no record that can be read", kind,
                            orphan->id, NULL);
        else
                log_warning("what has no record that can be read is ended", kind, orphan->id, NULL);
        free(orphan->id);
        free(orphan);
}

static void start(const char *id, bool is_pod)
{
        struct orphan *orphan = xcalloc(1, sizeof *orphan);
        orphan->id = xstrdup(id);
        orphan->is_pod = is_pod;
        task_start("end orphan", end_task, orphan);
}

void orphan_end_container(const char *id)
{
        start(id, false);
}

void orphan_end_pod(const char *id)
{
        start(id, true);
}
