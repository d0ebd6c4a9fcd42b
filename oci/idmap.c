#include "oci/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/sched.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/mapped_mount.h"
#include "base/memory.h"
#include "base/process.h"

#define MAP_TEXT_MAX 4096 /* bytes of a map: the kernel takes less than a page */
#define MAP_WORD_MAX 40   /* bytes of CONTAINER:HOST:LENGTH */

bool idmap_kernel_can(void)
{
        return mount_setattr(-1, "", 0, NULL, 0) == 0 || errno != ENOSYS;
}

/* ---- the user namespace ---- */

static int write_map(pid_t pid, const char *name, const struct spec_id_map *maps, size_t count,
                     struct error *err)
{
        AUTO_FREE char *text = idmap_text(maps, count);
        AUTO_FREE char *path = xprintf("/proc/%d/%s", (int)pid, name);
        return file_write(path, text, err);
}

static bool is_own_namespace(int fd)
{
        struct stat own, other;
        return stat("/proc/self/ns/user", &own) < 0 || fstat(fd, &other) < 0 ||
               own.st_ino == other.st_ino;
}

static int open_namespace(pid_t pid, const struct idmap *map, struct error *err)
{
        AUTO_FREE char *path = xprintf("/proc/%d/ns/user", (int)pid);
        AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open %s", path);
        /* process_start goes on without namespaces where the kernel refuses them. */
        if (is_own_namespace(fd))
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the kernel makes no user namespaces "
                                 "(/proc/sys/user/max_user_namespaces)");
        int result = write_map(pid, "uid_map", map->uid_maps, map->uid_map_count, err);
        if (result == 0)
                result = write_map(pid, "gid_map", map->gid_maps, map->gid_map_count, err);
        return result < 0 ? result : take_fd(&fd);
}

/*
 * The program may have ended before its maps are written: until it is reaped its namespace can be
 * found, written to and opened all the same.
 */
int idmap_namespace(const char *program, const struct idmap *map, struct error *err)
{
        char name[] = "idmap", flag[] = "--version";
        char *argv[] = {name, flag, NULL};
        struct process_options options = PROCESS_OPTIONS_INIT;
        struct process process;
        options.path = program;
        options.argv = argv;
        options.namespaces = CLONE_NEWUSER;
        int result = process_start(&options, &process, err);
        if (result < 0)
                return error_context(err, "make a user namespace");
        int fd = open_namespace(process.pid, map, err);
        process_abandon(&process);
        return fd < 0 ? error_context(err, "make a user namespace") : fd;
}

/* ---- the mount ---- */

int idmap_mount(int source_fd, int namespace_fd, bool follow, const char *target, struct error *err)
{
        return mapped_mount_make(source_fd, namespace_fd,
                                 MAPPED_MOUNT_RECURSIVE | (follow ? MAPPED_MOUNT_FOLLOW : 0),
                                 target, err);
}

/* ---- maps ---- */

static bool overlap(uint32_t first, uint32_t length, uint32_t other, uint32_t other_length)
{
        return first < (uint64_t)other + other_length && other < (uint64_t)first + length;
}

/* Each range against those before it: there are 340 at most. */
static int check_range(const struct spec_id_map *maps, size_t index, struct error *err)
{
        const struct spec_id_map *map = &maps[index];
        if (map->length == 0 || map->host_id > UINT32_MAX - map->length ||
            map->container_id > UINT32_MAX - map->length)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "range %u:%u:%u is empty or goes past the last ID",
                                 map->container_id, map->host_id, map->length);
        for (size_t i = 0; i < index; i++)
                if (overlap(map->container_id, map->length, maps[i].container_id, maps[i].length) ||
                    overlap(map->host_id, map->length, maps[i].host_id, maps[i].length))
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "ranges %u:%u:%u and %u:%u:%u overlap",
                                         maps[i].container_id, maps[i].host_id, maps[i].length,
                                         map->container_id, map->host_id, map->length);
        return 0;
}

int idmap_check(const struct spec_id_map *maps, size_t count, struct error *err)
{
        uint32_t root;
        if (count > IDMAP_RANGES_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT, "%zu ranges, the kernel takes %d",
                                 count, IDMAP_RANGES_MAX);
        for (size_t i = 0; i < count; i++) {
                int result = check_range(maps, i, err);
                if (result < 0)
                        return result;
        }
        if (!idmap_to_host(maps, count, 0, &root))
                return error_set(err, ERROR_INVALID_ARGUMENT, "the container's ID 0 is not mapped");
        AUTO_FREE char *text = idmap_text(maps, count);
        if (strlen(text) >= MAP_TEXT_MAX)
                return error_set(err, ERROR_INVALID_ARGUMENT,
                                 "%zu bytes of ranges, the kernel takes %d", strlen(text),
                                 MAP_TEXT_MAX - 1);
        return 0;
}

bool idmap_to_host(const struct spec_id_map *maps, size_t count, uint32_t id, uint32_t *host)
{
        for (size_t i = 0; i < count; i++)
                if (id >= maps[i].container_id && id - maps[i].container_id < maps[i].length) {
                        *host = maps[i].host_id + (id - maps[i].container_id);
                        return true;
                }
        return false;
}

bool idmap_to_container(const struct spec_id_map *maps, size_t count, uint32_t host, uint32_t *id)
{
        for (size_t i = 0; i < count; i++)
                if (host >= maps[i].host_id && host - maps[i].host_id < maps[i].length) {
                        *id = maps[i].container_id + (host - maps[i].host_id);
                        return true;
                }
        return false;
}

char *idmap_text(const struct spec_id_map *maps, size_t count)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        for (size_t i = 0; i < count; i++)
                buffer_printf(&text, "%u %u %u\n", maps[i].container_id, maps[i].host_id,
                              maps[i].length);
        return count ? buffer_take(&text) : xstrdup("");
}

int idmap_parse(const char *text, struct spec_id_map **maps, size_t *count, struct error *err)
{
        AUTO_FREE struct spec_id_map *list = NULL;
        AUTO_FREE char *copy = xstrdup(text);
        char *rest = copy;
        size_t found = 0;
        for (char *word; (word = strsep(&rest, ","));) {
                struct spec_id_map *map;
                int end = 0;
                if (found == IDMAP_RANGES_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "more than the %d ranges that the kernel takes",
                                         IDMAP_RANGES_MAX);
                list = xrealloc(list, (found + 1) * sizeof *list);
                map = &list[found++];
                unsigned long long id = 0, host = 0, length = 0;
                if (strspn(word, "0123456789:") != strlen(word) || strlen(word) > MAP_WORD_MAX ||
                    sscanf(word, "%llu:%llu:%llu%n", &id, &host, &length, &end) != 3 || word[end] ||
                    id > UINT32_MAX || host > UINT32_MAX || length > UINT32_MAX)
                        return error_set(err, ERROR_INVALID_ARGUMENT,
                                         "\"%.40s\" is not CONTAINER:HOST:LENGTH", word);
                *map = (struct spec_id_map){.container_id = (uint32_t)id,
                                            .host_id = (uint32_t)host,
                                            .length = (uint32_t)length};
        }
        *maps = take_ptr(list);
        *count = found;
        return 0;
}
