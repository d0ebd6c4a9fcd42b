#include "oci/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "oci/cgroup_private.h"

#define MOUNTINFO_MAX   (16 * 1024 * 1024) /* bytes; a node with thousands of pods has a few */
#define OOM_FILE_MAX    1024               /* bytes; memory.events has about 100 */
#define MOUNTINFO       "/proc/self/mountinfo"
#define CONTROLLERS_MAX 4096             /* bytes of cgroup.controllers */
#define NUMBER_MAX      64               /* bytes of a file that holds one number */
#define CGROUP_ROOT     "/sys/fs/cgroup" /* where runtimes look to tell v1 from v2 */

#define DEFAULT_PARENT "/crisp"
#define DEFAULT_SLICE  "system.slice"
#define SCOPE_PREFIX   "crisp"
#define SLICE_SUFFIX   ".slice"

/* ---- what the machine has ---- */

static const char *const known_controllers[] = {
        "cpu",   "cpuacct",  "cpuset",     "memory",  "devices", "freezer", "net_cls",
        "blkio", "net_prio", "perf_event", "hugetlb", "pids",    "rdma",    "misc",
};

static bool is_controller(const char *word)
{
        if (strncmp(word, "name=", 5) == 0)
                return true;
        for (size_t i = 0; i < sizeof known_controllers / sizeof *known_controllers; i++)
                if (strcmp(known_controllers[i], word) == 0)
                        return true;
        return false;
}

/* The controllers among a mount's options, parted by commas; on the heap. */
static char *controllers_of(char *options)
{
        struct buffer list = BUFFER_INIT;
        char *state = NULL;
        for (char *word = strtok_r(options, ",", &state); word; word = strtok_r(NULL, ",", &state))
                if (is_controller(word))
                        buffer_printf(&list, "%s%s", list.length ? "," : "", word);
        return buffer_take(&list);
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *text)
{
        char *out = text;
        for (const char *in = text; *in; out++) {
                if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' &&
                    in[3] >= '0' && in[3] <= '7') {
                        *out = (char)((in[1] - '0') << 6 | (in[2] - '0') << 3 | (in[3] - '0'));
                        in += 4;
                } else {
                        *out = *in++;
                }
        }
        *out = '\0';
}

static void add_hierarchy(struct cgroup_system *system, const char *mount, char *options)
{
        AUTO_FREE char *controllers = controllers_of(options);
        if (!controllers[0] || system->hierarchy_count == CGROUP_HIERARCHIES_MAX)
                return;
        for (size_t i = 0; i < system->hierarchy_count; i++)
                if (strcmp(system->hierarchies[i].controllers, controllers) == 0)
                        return;
        system->hierarchies[system->hierarchy_count++] = (struct cgroup_hierarchy){
                .mount = xstrdup(mount), .controllers = take_ptr(controllers)};
}

#define MOUNT_POINT_FIELD 4 /* of mountinfo's, from 0 */

static void read_mount(struct cgroup_system *system, char *line)
{
        char *separator = strstr(line, " - ");
        if (!separator)
                return;
        *separator = '\0';
        char *state = NULL, *mount = NULL;
        unsigned field = 0;
        for (char *word = strtok_r(line, " ", &state); word; word = strtok_r(NULL, " ", &state))
                if (field++ == MOUNT_POINT_FIELD)
                        mount = word;
        char *type = strtok_r(separator + 3, " ", &state);
        strtok_r(NULL, " ", &state); /* the source */
        char *options = strtok_r(NULL, " ", &state);
        if (!mount || !type)
                return;
        unescape(mount);
        if (strcmp(type, "cgroup2") == 0 && !system->unified)
                system->unified = xstrdup(mount);
        else if (strcmp(type, "cgroup") == 0 && options)
                add_hierarchy(system, mount, options);
}

static void drop_hierarchies(struct cgroup_system *system)
{
        for (size_t i = 0; i < system->hierarchy_count; i++) {
                free(system->hierarchies[i].mount);
                free(system->hierarchies[i].controllers);
        }
        system->hierarchy_count = 0;
}

/* v2 has the file in each folder but the root: look one below, where there is always something on a
 * machine that is up. */
static bool unified_has_swap(const char *unified)
{
        AUTO_DIR DIR *dir = opendir(unified);
        struct dirent *entry;
        while (dir && (entry = readdir(dir))) {
                if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
                        continue;
                AUTO_FREE char *path = xprintf("%s/%s/memory.swap.max", unified, entry->d_name);
                if (access(path, F_OK) == 0)
                        return true;
        }
        return false;
}

static bool has_swap(const struct cgroup_system *system)
{
        if (system->mode == CGROUP_MODE_V2)
                return unified_has_swap(system->unified);
        AUTO_FREE char *path = cgroup_file(system, "/", "memory", "memory.memsw.limit_in_bytes");
        return path && access(path, F_OK) == 0;
}

int cgroup_probe_file(const char *mountinfo, struct cgroup_system *system, struct error *err)
{
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        int result = file_read(mountinfo, MOUNTINFO_MAX, &contents, err);
        if (result < 0)
                return result;
        struct cgroup_system found = {0};
        char *state = NULL;
        for (char *line = contents.data ? strtok_r(contents.data, "\n", &state) : NULL; line;
             line = strtok_r(NULL, "\n", &state))
                read_mount(&found, line);
        if (found.unified && strcmp(found.unified, CGROUP_ROOT) == 0) {
                /* Somebody's v1 hierarchy elsewhere (net_cls is a usual one) is of no use to
                 * runtimes. */
                drop_hierarchies(&found);
                found.mode = CGROUP_MODE_V2;
        } else if (found.hierarchy_count) {
                found.mode = found.unified ? CGROUP_MODE_HYBRID : CGROUP_MODE_V1;
        } else {
                cgroup_system_fini(&found);
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "no cgroups are mounted on %s: containers cannot run",
                                 CGROUP_ROOT);
        }
        found.swap = has_swap(&found);
        *system = found;
        return 0;
}

int cgroup_probe(struct cgroup_system *system, struct error *err)
{
        return cgroup_probe_file(MOUNTINFO, system, err);
}

void cgroup_system_fini(struct cgroup_system *system)
{
        drop_hierarchies(system);
        free(system->unified);
        *system = (struct cgroup_system){0};
}

/* ---- names ---- */

/* A path without "//", "/." and a final "/", with one at its start; null where it has ".." or is
 * too long. */
static char *clean_path(const char *path)
{
        struct buffer out = BUFFER_INIT;
        while (*path) {
                path += strspn(path, "/");
                size_t length = strcspn(path, "/");
                if (length == 2 && memcmp(path, "..", 2) == 0) {
                        buffer_fini(&out);
                        return NULL;
                }
                if (length && !(length == 1 && path[0] == '.'))
                        buffer_printf(&out, "/%.*s", (int)length, path);
                path += length;
                if (out.length > CGROUP_PATH_MAX) {
                        buffer_fini(&out);
                        return NULL;
                }
        }
        if (out.length == 0)
                buffer_add_text(&out, "/");
        return buffer_take(&out);
}

static bool ends_with(const char *text, const char *suffix)
{
        size_t length = strlen(text), end = strlen(suffix);
        return length >= end && strcmp(text + length - end, suffix) == 0;
}

/* "a-b.slice" to "/a.slice/a-b.slice", as systemd nests them; null for a name that systemd does not
 * take. */
static char *slice_path(const char *slice)
{
        size_t length = strlen(slice) - strlen(SLICE_SUFFIX);
        if (length == 1 && slice[0] == '-')
                return xstrdup("/");
        if (length == 0 || slice[0] == '-' || slice[length - 1] == '-')
                return NULL;
        struct buffer out = BUFFER_INIT;
        for (size_t i = 1; i <= length; i++) {
                if (slice[i] != '-' && i < length)
                        continue;
                if (i < length && slice[i + 1] == '-') {
                        buffer_fini(&out);
                        return NULL;
                }
                buffer_printf(&out, "/%.*s" SLICE_SUFFIX, (int)i, slice);
        }
        return buffer_take(&out);
}

static int place_in_slice(const char *parent, const char *name, struct cgroup_place *place,
                          struct error *err)
{
        const char *given = parent && parent[0] ? parent : DEFAULT_SLICE;
        AUTO_FREE char *clean = clean_path(given);
        const char *slice = clean ? strrchr(clean, '/') + 1 : NULL;
        if (!slice || !ends_with(slice, SLICE_SUFFIX) || strchr(slice, ':'))
                return error_set(
                        err, ERROR_INVALID_ARGUMENT,
                        "cgroup parent \"%.200s\": its last part is no slice; crisp's cgroup "
                        "driver is systemd: is the kubelet's cgroupfs?",
                        given);
        AUTO_FREE char *folder = slice_path(slice);
        if (!folder)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "cgroup parent \"%.200s\": not a name of a slice", given);
        place->runtime_path = xprintf("%s:" SCOPE_PREFIX ":%s", slice, name);
        place->path =
                xprintf("%s/" SCOPE_PREFIX "-%s.scope", strcmp(folder, "/") ? folder : "", name);
        place->parent = take_ptr(folder);
        return 0;
}

int cgroup_place(enum cgroup_driver driver, const char *parent, const char *name,
                 struct cgroup_place *place, struct error *err)
{
        if (!name[0] || name[0] == '.' || strpbrk(name, "/:") || strlen(name) > NAME_MAX / 2)
                return error_set(err, ERROR_INVALID_ARGUMENT, "\"%.100s\": not a name for a cgroup",
                                 name);
        if (driver == CGROUP_DRIVER_SYSTEMD)
                return place_in_slice(parent, name, place, err);
        AUTO_FREE char *folder = clean_path(parent && parent[0] ? parent : DEFAULT_PARENT);
        if (!folder)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "cgroup parent \"%.200s\": not a path of a cgroup", parent);
        if (ends_with(folder, SLICE_SUFFIX))
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "cgroup parent \"%.200s\" is a slice; crisp's cgroup driver is "
                                 "cgroupfs: is the kubelet's systemd?",
                                 parent);
        place->path = xprintf("%s/%s", strcmp(folder, "/") ? folder : "", name);
        place->runtime_path = xstrdup(place->path);
        place->parent = take_ptr(folder);
        return 0;
}

void cgroup_place_fini(struct cgroup_place *place)
{
        int saved = errno;
        free(place->runtime_path);
        free(place->path);
        free(place->parent);
        *place = (struct cgroup_place){0};
        errno = saved;
}

/* ---- files ---- */

bool cgroup_controls(const struct cgroup_hierarchy *hierarchy, const char *controller)
{
        size_t length = strlen(controller);
        for (const char *list = hierarchy->controllers; *list;) {
                size_t word = strcspn(list, ",");
                if (word == length && memcmp(list, controller, length) == 0)
                        return true;
                list += word + (list[word] == ',');
        }
        return false;
}

char *cgroup_file(const struct cgroup_system *system, const char *path, const char *controller,
                  const char *file)
{
        const char *below = strcmp(path, "/") ? path : "";
        if (system->mode == CGROUP_MODE_V2)
                return xprintf("%s%s/%s", system->unified, below, file);
        for (size_t i = 0; i < system->hierarchy_count; i++)
                if (cgroup_controls(&system->hierarchies[i], controller))
                        return xprintf("%s%s/%s", system->hierarchies[i].mount, below, file);
        return NULL;
}

bool cgroup_has(const struct cgroup_system *system, const char *controller)
{
        if (system->mode != CGROUP_MODE_V2) {
                AUTO_FREE char *probe = cgroup_file(system, "/", controller, "cgroup.procs");
                return probe && access(probe, F_OK) == 0;
        }
        AUTO_FREE char *file = xprintf("%s/cgroup.controllers", system->unified);
        AUTO_BUFFER struct buffer list = BUFFER_INIT;
        if (file_read(file, CONTROLLERS_MAX, &list, NULL) < 0 || !list.data)
                return false;
        char *state = NULL;
        for (char *word = strtok_r(list.data, " \n", &state); word;
             word = strtok_r(NULL, " \n", &state))
                if (strcmp(word, controller) == 0)
                        return true;
        return false;
}

int cgroup_memory_usage(const struct cgroup_system *system, const char *path, int64_t *bytes,
                        struct error *err)
{
        AUTO_FREE char *file = cgroup_file(
                system, path, "memory",
                system->mode == CGROUP_MODE_V2 ? "memory.current" : "memory.usage_in_bytes");
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        if (!file)
                return error_set(err, ERROR_NOT_FOUND, "there is no memory controller");
        int result = file_read(file, NUMBER_MAX, &text, err);
        if (result == 0)
                *bytes = text.data ? strtoll(text.data, NULL, 10) : 0;
        return result;
}

char *cgroup_oom_file(const struct cgroup_system *system, const char *path)
{
        return cgroup_file(system, path, "memory",
                           system->mode == CGROUP_MODE_V2 ? "memory.events" : "memory.oom_control");
}

char *cgroup_oom_parent_file(const struct cgroup_system *system, enum cgroup_driver driver,
                             const char *path)
{
        const char *slash = strrchr(path, '/');
        if (driver != CGROUP_DRIVER_SYSTEMD || system->mode != CGROUP_MODE_V2 || !slash ||
            slash == path)
                return NULL;
        AUTO_FREE char *parent = xstrndup(path, (size_t)(slash - path));
        return cgroup_oom_file(system, parent);
}

bool cgroup_oom_killed(const struct cgroup_system *system, const char *path)
{
        AUTO_FREE char *file = cgroup_oom_file(system, path);
        AUTO_BUFFER struct buffer contents = BUFFER_INIT;
        if (!file || file_read(file, OOM_FILE_MAX, &contents, NULL) < 0 || !contents.data)
                return false;
        char *state = NULL;
        for (char *line = strtok_r(contents.data, "\n", &state); line;
             line = strtok_r(NULL, "\n", &state))
                if (strncmp(line, "oom_kill ", 9) == 0)
                        return strtoull(line + 9, NULL, 10) > 0;
        return false;
}
