#include "conmon/oom.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conmon/clock.h"
#include "conmon/text.h"

#define FILE_MAX    1024 /* bytes; memory.events has about 100 */
#define DEPTH_MAX   8    /* of cgroups below a container's */
#define FOLDERS_MAX 4096 /* of them altogether: a container may make any number */
#define NAMES_SIZE  2048
/* A kill is preceded by the cgroup being full, which memory.events tells of at once; of what comes
 * in the next 10 ms it tells after these. */
#define NEAR (1 * NANOSECONDS)

/* The number after "oom_kill ", or -1. */
static int64_t find_count(char *contents)
{
        static const char key[] = "oom_kill ";

        for (char *line = contents, *next; line; line = next) {
                uint64_t count;

                next = strchr(line, '\n');
                if (next)
                        *next++ = 0;
                if (strncmp(line, key, sizeof(key) - 1) == 0)
                        return text_parse_number(line + sizeof(key) - 1, &count) &&
                                               count <= INT64_MAX
                                       ? (int64_t)count
                                       : -1;
        }
        return -1;
}

/* From the beginning of the file. */
static int64_t read_open(int fd)
{
        char contents[FILE_MAX + 1];
        size_t length = 0;
        ssize_t got;

        while ((got = pread(fd, contents + length, FILE_MAX - length, (off_t)length)) > 0 ||
               (got < 0 && errno == EINTR))
                length += got > 0 ? (size_t)got : 0;
        contents[length] = 0;
        return got < 0 ? -1 : find_count(contents);
}

static int64_t read_count(int folder, const char *name)
{
        int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
        int64_t count;

        if (fd < 0)
                return -1;
        count = read_open(fd);
        close(fd);
        return count;
}

void oom_watch_open(struct oom_watch *watch, const char *file, const char *parent)
{
        *watch = (struct oom_watch){.fd = file && parent ? open(file, O_RDONLY | O_CLOEXEC) : -1,
                                    .parent = parent,
                                    .parent_kills = oom_kills(parent)};
}

void oom_watch_look(struct oom_watch *watch)
{
        /* The one above first: a kill that comes between the two is one more there later. */
        int64_t parent_kills = oom_kills(watch->parent);
        int64_t kills = read_open(watch->fd);

        if (kills >= 0)
                watch->heard = clock_now(CLOCK_MONOTONIC);
        if (kills == 0)
                watch->parent_kills = parent_kills;
        watch->killed = kills > 0;
        /* One kill is enough, and of a cgroup that is gone there is no more to hear. */
        if (kills != 0)
                oom_watch_close(watch);
}

/*
 * Without the cgroup's own count there is that of the one above, which may have been another
 * container's: it counts where something at all says that it was this one.
 */
bool oom_watch_killed(const struct oom_watch *watch, bool by_sigkill)
{
        bool near = watch->heard && clock_now(CLOCK_MONOTONIC) - watch->heard < NEAR;

        if (watch->killed)
                return true;
        return (by_sigkill || near) && watch->parent_kills >= 0 &&
               oom_kills(watch->parent) > watch->parent_kills;
}

void oom_watch_close(struct oom_watch *watch)
{
        if (watch->fd >= 0)
                close(watch->fd);
        watch->fd = -1;
}

int64_t oom_kills(const char *file)
{
        return file ? read_count(AT_FDCWD, file) : 0;
}

/* Adds what the folders in this one count; closes folder. */
static int64_t count_below(int folder, const char *name, unsigned depth, unsigned *folders)
{
        _Alignas(struct dirent64) char memory[NAMES_SIZE];
        int64_t sum = 0;
        ssize_t got;

        while ((got = getdents64(folder, memory, sizeof(memory))) > 0) {
                for (char *at = memory; at < memory + got && *folders < FOLDERS_MAX;) {
                        const struct dirent64 *entry = (const struct dirent64 *)(void *)at;
                        int64_t count;
                        int below;

                        at += entry->d_reclen;
                        if (entry->d_type != DT_DIR || strcmp(entry->d_name, ".") == 0 ||
                            strcmp(entry->d_name, "..") == 0)
                                continue;
                        below = openat(folder, entry->d_name,
                                       O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                        if (below < 0)
                                continue;
                        ++*folders;
                        count = read_count(below, name);
                        sum += count > 0;
                        if (depth < DEPTH_MAX)
                                sum += count_below(below, name, depth + 1, folders);
                        else
                                close(below);
                }
        }
        close(folder);
        return sum;
}

int64_t oom_kills_below(const char *file)
{
        static char directory[PATH_MAX];
        int64_t count = oom_kills(file);
        const char *slash = file ? strrchr(file, '/') : NULL;
        struct text text = text_in(directory, sizeof(directory));
        unsigned folders = 0;
        int folder;

        if (count != 0 || !slash)
                return count;
        text_add_bytes(&text, file, (size_t)(slash - file));
        folder = text.cut ? -1 : open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return folder < 0 ? count : count_below(folder, slash + 1, 1, &folders);
}
