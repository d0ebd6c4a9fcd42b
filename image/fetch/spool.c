#include "image/fetch/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "image/fetch/decompress.h"
#include "image/fetch/digest.h"
#include "image/fetch/limits.h"
#include "image/fetch/ring.h"

#define LOOK_EVERY (16 << 20) /* bytes between two looks at the disk */

/* A thread decompresses, one reads, and ours writes. */
struct spool {
        int fd;
        struct ring *in, *out;
        int64_t max;
        int decompressed, read;
        struct error decompress_error, read_error;
};

bool spool_is_compressed(int fd)
{
        unsigned char magic[4] = {0};
        return pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
               (memcmp(magic, "\x1f\x8b", 2) == 0 || memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0);
}

static void *run_decompressor(void *argument)
{
        struct spool *spool = argument;
        AUTO_DIGEST struct digest *digest = digest_new(NULL);
        int64_t total;

        spool->decompressed = decompress_run(spool->in, spool->out, digest, spool->max, &total,
                                             &spool->decompress_error);
        return NULL;
}

static void *run_reader(void *argument)
{
        struct spool *spool = argument;

        for (;;) {
                char *space;
                size_t room = ring_write_begin(spool->in, &space);
                if (room == 0)
                        return NULL; /* broken by others */
                ssize_t count = read(spool->fd, space, room);
                if (count < 0 && errno == EINTR)
                        continue;
                if (count < 0) {
                        spool->read = error_errno(&spool->read_error, errno, "reading");
                        ring_break(spool->in);
                        return NULL;
                }
                if (count == 0) {
                        ring_finish(spool->in);
                        return NULL;
                }
                ring_write_end(spool->in, (size_t)count);
        }
}

static int check_room(int fd, int64_t free_min, struct error *err)
{
        struct statvfs disk;
        if (fstatvfs(fd, &disk) < 0)
                return error_errno(err, errno, "looking at the disk");
        if ((int64_t)(disk.f_bavail * disk.f_frsize) < free_min)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "less than %lld MiB would be left on the disk of the image store",
                                 (long long)(free_min >> 20));
        return 0;
}

static int write_out(struct spool *spool, int fd, int64_t free_min, struct error *err)
{
        int64_t left = 0;

        for (;;) {
                const char *data;
                ssize_t count = ring_read_begin(spool->out, 1, &data);
                if (count <= 0)
                        return count < 0 ? error_set(err, ERROR_CANCELLED, "cancelled") : 0;
                if (left <= 0) {
                        int r = check_room(fd, free_min, err);
                        if (r < 0)
                                return r;
                        left = LOOK_EVERY;
                }
                ssize_t written = write(fd, data, (size_t)count);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written < 0)
                        return error_errno(err, errno, "writing it out");
                ring_read_end(spool->out, (size_t)written);
                left -= written;
        }
}

static int run(struct spool *spool, int fd, int64_t free_min, struct error *err)
{
        pthread_t decompressor, reader;
        struct error write_error = {0};

        int number = pthread_create(&decompressor, NULL, run_decompressor, spool);
        if (number != 0)
                return error_errno(err, number, "starting a thread");
        number = pthread_create(&reader, NULL, run_reader, spool);
        if (number != 0)
                ring_break(spool->in);
        int r = number == 0 ? write_out(spool, fd, free_min, &write_error)
                            : error_errno(&write_error, number, "starting a thread");
        if (r < 0) {
                ring_break(spool->out);
                ring_break(spool->in);
        }
        pthread_join(decompressor, NULL);
        if (number == 0)
                pthread_join(reader, NULL);
        const struct error *cause =
                spool->read < 0 ? &spool->read_error
                : spool->decompressed < 0 && spool->decompress_error.code != ERROR_CANCELLED
                        ? &spool->decompress_error
                : r < 0 ? &write_error
                        : NULL;
        return cause ? error_set(err, cause->code, "%s", cause->message) : 0;
}

int spool_out(int fd, int folder_fd, int64_t max, int64_t free_min, int *spooled, struct error *err)
{
        AUTO_RING struct ring *in = ring_new(FETCH_RING_SIZE);
        AUTO_RING struct ring *out = ring_new(FETCH_RING_SIZE);
        struct spool spool = {.fd = fd, .in = in, .out = out, .max = max};
        AUTO_FD int file = openat(folder_fd, "spooled",
                                  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (file < 0 || unlinkat(folder_fd, "spooled", 0) < 0)
                return error_errno(err, errno, "making a file in the staging folder");
        int r = run(&spool, file, free_min, err);
        if (r == 0)
                *spooled = take_fd(&file);
        return r;
}
