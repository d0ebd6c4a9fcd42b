#include "conmon/rotation.h"

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

#define STAMP_LENGTH 15 /* "20161006-001709" */
#define NAMES_SIZE   8192
#define NAME_TRIES   100 /* seconds, one after the other, whose names may be taken */

static void add_stamp(struct text *text, int64_t seconds)
{
        char when[TEXT_TIME_LENGTH]; /* "2016-10-06T00:17:09..." */

        text_time(when, seconds * NANOSECONDS);
        text_add_bytes(text, when, 4);
        text_add_bytes(text, when + 5, 2);
        text_add_bytes(text, when + 8, 2);
        text_add(text, "-");
        text_add_bytes(text, when + 11, 2);
        text_add_bytes(text, when + 14, 2);
        text_add_bytes(text, when + 17, 2);
}

/* The time in the name of a file that the log was, or null for any other name. */
static const char *find_stamp(const char *name, const char *log, size_t log_length)
{
        const char *stamp = name + log_length + 1;

        if (strncmp(name, log, log_length) != 0 || name[log_length] != '.')
                return NULL;
        for (unsigned i = 0; i < STAMP_LENGTH; i++) {
                bool digit = stamp[i] >= '0' && stamp[i] <= '9';

                if (i == 8 ? stamp[i] != '-' : !digit)
                        return NULL;
        }
        if (stamp[STAMP_LENGTH] && strcmp(stamp + STAMP_LENGTH, ".gz") != 0)
                return NULL;
        return stamp;
}

/* How many such files there are, and the oldest one's name. */
static unsigned look(int folder, const char *log, char oldest[NAME_MAX + 1])
{
        static _Alignas(struct dirent64) char memory[NAMES_SIZE];
        size_t log_length = strlen(log);
        const char *first = NULL; /* points into oldest */
        unsigned count = 0;
        ssize_t got;

        if (lseek(folder, 0, SEEK_SET) < 0)
                return 0;
        while ((got = getdents64(folder, memory, sizeof(memory))) > 0) {
                for (char *at = memory; at < memory + got;) {
                        const struct dirent64 *entry = (const struct dirent64 *)(void *)at;
                        const char *stamp = find_stamp(entry->d_name, log, log_length);

                        at += entry->d_reclen;
                        if (!stamp)
                                continue;
                        count++;
                        if (first && strncmp(stamp, first, STAMP_LENGTH) >= 0)
                                continue;
                        strcpy(oldest, entry->d_name);
                        first = oldest + log_length + 1;
                }
        }
        return count;
}

static void remove_oldest(const char *directory, const char *log, unsigned keep)
{
        int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char oldest[NAME_MAX + 1];

        if (folder < 0)
                return;
        /* Where somebody made any number of such files, the next rotations go on. */
        for (unsigned i = 0; i < ROTATION_FILES_MAX && look(folder, log, oldest) > keep; i++) {
                if (unlinkat(folder, oldest, 0) < 0)
                        break;
        }
        close(folder);
}

/* "PATH.TIME", of a time that no name has had. */
static bool name_old(char old[PATH_MAX], const char *path, int64_t *last)
{
        struct text text = text_in(old, PATH_MAX);
        int64_t now = clock_now(CLOCK_REALTIME) / NANOSECONDS;

        *last = now > *last ? now : *last + 1;
        text_add(&text, path);
        text_add(&text, ".");
        add_stamp(&text, *last);
        return !text.cut;
}

static void remove_old(const char *path, unsigned keep)
{
        static char directory[PATH_MAX];
        const char *slash = strrchr(path, '/');
        struct text text = text_in(directory, sizeof(directory));

        if (slash)
                text_add_bytes(&text, path, (size_t)(slash - path) + 1);
        else
                text_add(&text, ".");
        remove_oldest(directory, slash ? slash + 1 : path, keep);
}

static int make(const char *name, mode_t mode)
{
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOCTTY, mode);

        return fd < 0 ? -errno : fd;
}

static int keep_or_remove(int fd, const char *made, int result)
{
        if (!result)
                return fd;
        close(fd);
        unlink(made);
        return result;
}

/*
 * The new file has the old one's name until they change places, so that the kubelet, which rotates
 * too, finds a log whenever it looks.
 */
static int exchange(const char *path, mode_t mode, const char *old)
{
        int fd = make(old, mode), result = 0;

        if (fd < 0)
                return fd;
        if (renameat2(AT_FDCWD, old, AT_FDCWD, path, RENAME_EXCHANGE) < 0)
                result = -errno;
        return keep_or_remove(fd, old, result);
}

/* old: null where nothing is kept. */
static int replace(const char *path, mode_t mode, const char *old)
{
        static char beside[PATH_MAX];
        struct text text = text_in(beside, sizeof(beside));
        int fd, result = 0;

        text_add(&text, path);
        text_add(&text, ".new");
        if (text.cut)
                return -ENAMETOOLONG;
        /* What a killed monitor left there is not written into. */
        if (unlink(beside) < 0 && errno != ENOENT)
                return -errno;
        fd = make(beside, mode);
        if (fd < 0)
                return fd;
        if ((old && rename(path, old) < 0) || rename(beside, path) < 0)
                result = -errno;
        return keep_or_remove(fd, beside, result);
}

int rotation_start_anew(const char *path, mode_t mode, unsigned files, int64_t *last)
{
        static char old[PATH_MAX];
        int result = -EEXIST;

        if (files <= 1)
                return replace(path, mode, NULL);
        /* The kubelet gives such names too. */
        for (unsigned i = 0; i < NAME_TRIES; i++) {
                if (!name_old(old, path, last))
                        return -ENAMETOOLONG;
                result = exchange(path, mode, old);
                if (result != -EEXIST)
                        break;
        }
        /* Not every file system can. */
        if (result == -EINVAL)
                result = replace(path, mode, old);
        if (result >= 0)
                remove_old(path, files - 1);
        return result;
}
