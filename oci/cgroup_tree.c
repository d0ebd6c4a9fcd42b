/* cgroups' folders: made, joined, removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/cgroup_private.h"

#define FOLDER_MODE   0755
#define CPUSET_MAX    4096 /* bytes of a list of processors or memory nodes */
#define RETRY_FIRST   (1 * NSEC_PER_MSEC)
#define RETRY_LONGEST (20 * NSEC_PER_MSEC)

size_t cgroup_roots(const struct cgroup_system *system, const char *roots[CGROUP_ROOTS_MAX])
{
        size_t count = 0;
        for (size_t i = 0; i < system->hierarchy_count; i++)
                roots[count++] = system->hierarchies[i].mount;
        if (system->unified)
                roots[count++] = system->unified;
        return count;
}

int cgroup_check_path(const char *path, struct error *err)
{
        if (path[0] == '/' && path[1] && !strstr(path, "/../") && strlen(path) <= CGROUP_PATH_MAX)
                return 0;
        return error_set(err, ERROR_INVALID_ARGUMENT, "cgroup \"%.200s\": not a path of ours",
                         path);
}

/* ---- made ---- */

/* A new v1 cpuset has no processors and takes no process: it gets its parent's. */
static int copy_cpuset(const char *folder, const char *file, struct error *err)
{
        AUTO_FREE char *own = xprintf("%s/%s", folder, file);
        AUTO_FREE char *above = xprintf("%s/../%s", folder, file);
        AUTO_BUFFER struct buffer have = BUFFER_INIT;
        AUTO_BUFFER struct buffer value = BUFFER_INIT;
        int result = file_read(own, CPUSET_MAX, &have, err);
        if (result < 0 || (have.length && have.data[0] != '\n'))
                return result;
        result = file_read(above, CPUSET_MAX, &value, err);
        return result < 0 ? result : file_write(own, value.data ? value.data : "", err);
}

static int fill_cpuset(const char *folder, struct error *err)
{
        int result = copy_cpuset(folder, "cpuset.cpus", err);
        return result < 0 ? result : copy_cpuset(folder, "cpuset.mems", err);
}

/*
 * Makes root + path with the folders above it. *missing becomes the length of the shortest part of
 * path that was not there, unless it is shorter already.
 */
static int make_in(const char *root, const char *path, bool cpuset, size_t *missing,
                   struct error *err)
{
        AUTO_FREE char *folder = xprintf("%s%s", root, path);
        size_t root_length = strlen(root);
        for (size_t end = root_length + 1;; end++) {
                if (folder[end] != '/' && folder[end] != '\0')
                        continue;
                char cut = folder[end];
                folder[end] = '\0';
                bool made = mkdir(folder, FOLDER_MODE) == 0;
                if (!made && errno != EEXIST)
                        return error_errno(err, errno, "make cgroup %s", folder);
                if (made && missing && end - root_length < *missing)
                        *missing = end - root_length;
                if (cpuset) {
                        int result = fill_cpuset(folder, err);
                        if (result < 0)
                                return result;
                }
                if (!cut)
                        return 0;
                folder[end] = cut;
        }
}

static bool chosen(const struct cgroup_hierarchy *hierarchy, const char *const *controllers)
{
        if (!controllers)
                return true;
        for (; *controllers; controllers++)
                if (cgroup_controls(hierarchy, *controllers))
                        return true;
        return false;
}

/* On hybrid the unified tree is left to the runtime, which alone knows whether it uses it. */
static int make_folders(const struct cgroup_system *system, const char *path,
                        const char *const *controllers, size_t *missing, struct error *err)
{
        int result = cgroup_check_path(path, err);
        if (result == 0 && system->mode == CGROUP_MODE_V2)
                result = make_in(system->unified, path, false, missing, err);
        for (size_t i = 0; result == 0 && i < system->hierarchy_count; i++) {
                const struct cgroup_hierarchy *hierarchy = &system->hierarchies[i];
                if (chosen(hierarchy, controllers))
                        result = make_in(hierarchy->mount, path,
                                         cgroup_controls(hierarchy, "cpuset"), missing, err);
        }
        return result;
}

int cgroup_parent_ensure(const struct cgroup_system *system, const char *path, char **made,
                         struct error *err)
{
        size_t whole = strlen(path), missing = whole + 1;
        if (strcmp(path, "/") == 0) {
                *made = NULL;
                return 0;
        }
        int result = make_folders(system, path, NULL, &missing, err);
        AUTO_FREE char *topmost = missing <= whole ? xstrndup(path, missing) : NULL;
        if (result < 0) {
                cgroup_parent_remove(system, path, topmost);
                return result;
        }
        *made = take_ptr(topmost);
        return 0;
}

void cgroup_parent_remove(const struct cgroup_system *system, const char *path, const char *made)
{
        if (!made || cgroup_check_path(path, NULL) < 0 || cgroup_check_path(made, NULL) < 0 ||
            strncmp(path, made, strlen(made)) != 0)
                return;
        const char *roots[CGROUP_ROOTS_MAX];
        size_t count = cgroup_roots(system, roots);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *folder = xprintf("%s%s", roots[i], path);
                size_t shortest = strlen(roots[i]) + strlen(made);
                while (strlen(folder) >= shortest && (rmdir(folder) == 0 || errno == ENOENT))
                        *strrchr(folder, '/') = '\0';
        }
}

int cgroup_leaf_make(const struct cgroup_system *system, const char *path,
                     const char *const *controllers, struct cgroup_leaf *leaf, struct error *err)
{
        int result = make_folders(system, path, controllers, NULL, err);
        if (result < 0)
                return result;
        struct cgroup_leaf found = CGROUP_LEAF_INIT;
        if (system->mode == CGROUP_MODE_V2) {
                AUTO_FREE char *folder = xprintf("%s%s", system->unified, path);
                found.fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (found.fd < 0)
                        return error_errno(err, errno, "open cgroup %s", folder);
        }
        for (size_t i = 0; i < system->hierarchy_count; i++) {
                if (!chosen(&system->hierarchies[i], controllers))
                        continue;
                AUTO_FREE char *tasks = xprintf("%s%s/tasks", system->hierarchies[i].mount, path);
                strv_push(&found.tasks, tasks);
        }
        *leaf = found;
        return 0;
}

void cgroup_leaf_fini(struct cgroup_leaf *leaf)
{
        int saved = errno;
        if (leaf->fd >= 0)
                close(leaf->fd);
        strv_free(leaf->tasks);
        *leaf = (struct cgroup_leaf)CGROUP_LEAF_INIT;
        errno = saved;
}

/* ---- removed ---- */

/* 0 when it is gone, or what the last rmdir said. A folder that appears while we walk makes the
 * caller's next round. */
static int remove_below(int parent_fd, const char *name, unsigned depth)
{
        if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
                return 0;
        if (depth == CGROUP_DEPTH_MAX)
                return -ELOOP;
        int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        AUTO_DIR DIR *dir = fdopendir(fd);
        if (!dir) {
                int number = -errno;
                close(fd);
                return number;
        }
        struct dirent *entry;
        while ((entry = readdir(dir)))
                if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
                    strcmp(entry->d_name, "..") != 0)
                        remove_below(dirfd(dir), entry->d_name, depth + 1);
        return unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

static int remove_everywhere(const struct cgroup_system *system, const char *path)
{
        const char *roots[CGROUP_ROOTS_MAX];
        size_t count = cgroup_roots(system, roots);
        int result = 0;
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *folder = xprintf("%s%s", roots[i], path);
                int one = remove_below(AT_FDCWD, folder, 0);
                if (one < 0)
                        result = one;
        }
        return result;
}

int cgroup_remove(const struct cgroup_system *system, const char *path, int64_t deadline,
                  struct error *err)
{
        int result = cgroup_check_path(path, err);
        if (result < 0)
                return result;
        int64_t pause = RETRY_FIRST;
        while ((result = remove_everywhere(system, path)) < 0) {
                if (result != -EBUSY || clock_monotonic() >= deadline)
                        return error_errno(err, result, "remove cgroup %s", path);
                struct timespec wait = {0, pause};
                nanosleep(&wait, NULL);
                pause = pause * 2 < RETRY_LONGEST ? pause * 2 : RETRY_LONGEST;
        }
        return 0;
}

bool cgroup_exists(const struct cgroup_system *system, const char *path)
{
        const char *roots[CGROUP_ROOTS_MAX];
        size_t count = cgroup_roots(system, roots);
        for (size_t i = 0; i < count; i++) {
                AUTO_FREE char *folder = xprintf("%s%s", roots[i], path);
                if (access(folder, F_OK) == 0)
                        return true;
        }
        return false;
}
