#include "image/spread.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/memory.h"

#define NOTES_MAX  128 /* a place more replaces the one that was noted first */
#define MEMORY     (6 * 60 * NSEC_PER_SEC)
#define PLACES_MAX 32

/* Sixteen groups of ext4's usual size: an image of 40,000 files takes as many. */
#define FAR_ENOUGH (UINT64_C(16) * 8192)
/* Trees whose inodes are as near as this share a note. */
#define SAME_PLACE UINT64_C(8192)

struct note {
        ino_t inode;
        int64_t time;
};

struct spread {
        pthread_mutex_t lock; /* protects the rest */
        struct note notes[NOTES_MAX];
        unsigned count, next;
};

struct spread *spread_new(void)
{
        struct spread *spread = xcalloc(1, sizeof(*spread));
        pthread_mutex_init(&spread->lock, NULL);
        return spread;
}

void spread_free(struct spread *spread)
{
        if (!spread)
                return;
        pthread_mutex_destroy(&spread->lock);
        free(spread);
}

void spread_folder(int parent_fd, const char *folder)
{
        AUTO_FD int fd = openat(parent_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int attributes;
        if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &attributes) == 0 &&
            !(attributes & FS_TOPDIR_FL)) {
                attributes |= FS_TOPDIR_FL;
                ioctl(fd, FS_IOC_SETFLAGS, &attributes);
        }
}

static uint64_t between(ino_t a, ino_t b)
{
        return a < b ? b - a : a - b;
}

void spread_note(struct spread *spread, ino_t inode, int64_t now)
{
        unsigned at = 0;
        pthread_mutex_lock(&spread->lock);
        while (at < spread->count && between(spread->notes[at].inode, inode) >= SAME_PLACE)
                at++;
        if (at == spread->count) {
                at = spread->next;
                spread->next = (at + 1) % NOTES_MAX;
                if (spread->count < NOTES_MAX)
                        spread->count++;
                spread->notes[at].inode = inode;
        }
        spread->notes[at].time = now;
        pthread_mutex_unlock(&spread->lock);
}

uint64_t spread_distance(struct spread *spread, ino_t inode, int64_t now)
{
        uint64_t distance = UINT64_MAX;
        pthread_mutex_lock(&spread->lock);
        for (unsigned i = 0; i < spread->count; i++) {
                const struct note *note = &spread->notes[i];
                uint64_t d = between(note->inode, inode);
                if (now - note->time < MEMORY && d < distance)
                        distance = d;
        }
        pthread_mutex_unlock(&spread->lock);
        return distance;
}

static uint64_t distance_of(struct spread *spread, int fd, const char *name)
{
        struct stat st;
        if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        return spread_distance(spread, st.st_ino, clock_monotonic());
}

int spread_make(struct spread *spread, int fd, const char *name, struct error *err)
{
        unsigned made = 0, best = 0;

        if (mkdirat(fd, name, 0700) < 0)
                return error_errno(err, errno, "make folder %s", name);
        uint64_t distance = distance_of(spread, fd, name);
        /* All stay until the last is made: otherwise the next would be where this one was. */
        while (distance < FAR_ENOUGH && made + 1 < PLACES_MAX) {
                AUTO_FREE char *other = xprintf("%s.%u", name, made + 1);
                if (mkdirat(fd, other, 0700) < 0)
                        break;
                made++;
                uint64_t d = distance_of(spread, fd, other);
                if (d > distance) {
                        distance = d;
                        best = made;
                }
        }
        for (unsigned i = 1; i <= made; i++) {
                AUTO_FREE char *other = xprintf("%s.%u", name, i);
                /* Takes the place of the empty one. Where that fails the first does as well. */
                if (i != best || renameat(fd, other, fd, name) < 0)
                        unlinkat(fd, other, AT_REMOVEDIR);
        }
        return 0;
}
