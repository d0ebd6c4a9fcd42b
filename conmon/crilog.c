#include "conmon/crilog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conmon/rotation.h"

#define LOG_MODE 0640 /* log collectors run in root's group */

enum tag { PARTIAL, FULL };

static int open_log(const char *path)
{
        /* Nor is a fifo waited for. */
        int fd =
                open(path,
                     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK,
                     LOG_MODE);

        return fd < 0 ? -errno : fd;
}

static void use_file(struct crilog *log, int fd)
{
        struct stat status;

        if (log->fd >= 0)
                close(log->fd);
        log->fd = fd;
        log->size = fstat(fd, &status) == 0 ? (uint64_t)status.st_size : 0;
        log->torn = false;
}

int crilog_open(struct crilog *log, const char *path, const struct crilog_bounds *bounds)
{
        int fd;

        log->fd = -1;
        log->path = path;
        log->size_max = bounds->size_max;
        log->files_max = !bounds->files_max                       ? 1
                         : bounds->files_max > ROTATION_FILES_MAX ? ROTATION_FILES_MAX
                                                                  : (unsigned)bounds->files_max;
        log->line_max = bounds->line_max ? bounds->line_max : CRILOG_LINE_DEFAULT;
        if (log->line_max > CRILOG_LINE_MAX)
                log->line_max = CRILOG_LINE_MAX;
        log->lost_lines = 0;
        log->part_count = 0;
        log->part_bytes = 0;
        if (!path)
                return 0;
        fd = open_log(path);
        if (fd < 0)
                return fd;
        use_file(log, fd);
        return 0;
}

int crilog_reopen(struct crilog *log)
{
        int fd;

        if (!log->path)
                return 0;
        fd = open_log(log->path);
        if (fd < 0)
                return fd;
        use_file(log, fd);
        return 0;
}

void crilog_close(struct crilog *log)
{
        if (log->fd >= 0)
                close(log->fd);
        log->fd = -1;
}

/* Whether the path still leads to our file; it does not between a rotation by the kubelet and its
 * word to us. */
static bool is_in_place(const struct crilog *log, const struct stat *ours)
{
        struct stat there;

        return lstat(log->path, &there) == 0 && there.st_ino == ours->st_ino &&
               there.st_dev == ours->st_dev;
}

/* The next bytes would not fit any more. */
static void start_anew(struct crilog *log, size_t next)
{
        struct stat ours;
        int fd;

        if (fstat(log->fd, &ours) < 0)
                return;
        /* Its real size: somebody may have emptied it. */
        log->size = (uint64_t)ours.st_size;
        if (!log->size || log->size + next <= log->size_max)
                return;
        if (is_in_place(log, &ours))
                fd = rotation_start_anew(log->path, LOG_MODE, log->files_max, &log->last_rotation);
        else
                fd = open_log(log->path);
        if (fd >= 0) {
                use_file(log, fd);
        } else if (ftruncate(log->fd, 0) == 0) {
                /* The bound holds also where no other file can be made. */
                log->size = 0;
                log->torn = false;
        }
}

/*
 * Counts the lines from part on as lost, and takes back the beginning of the one that was cut off
 * (its written bytes), so that the next line does not continue it.
 */
static void lose(struct crilog *log, unsigned part, size_t begun)
{
        struct stat status;

        for (unsigned i = part; i < log->part_count; i++)
                log->lost_lines += log->ends_line[i];
        if (!begun)
                return;
        /* Its real size: where somebody has emptied the file meanwhile, ours would fill it with
         * zeroes. */
        if (fstat(log->fd, &status) == 0 && status.st_size >= (off_t)begun &&
            ftruncate(log->fd, status.st_size - (off_t)begun) == 0)
                log->size = (uint64_t)status.st_size - begun;
        else
                log->torn = true;
}

static void write_parts(struct crilog *log)
{
        struct iovec *parts = log->parts;
        unsigned done = 0;
        size_t begun = 0; /* bytes of an uncompleted line that are in the file */

        if (!log->part_count || log->fd < 0)
                goto out;
        if (log->size_max && log->size && log->size + log->part_bytes > log->size_max)
                start_anew(log, log->part_bytes);
        if (log->torn) {
                if (write(log->fd, "\n", 1) != 1) {
                        lose(log, 0, 0);
                        goto out;
                }
                log->size++;
                log->torn = false;
        }
        while (done < log->part_count) {
                ssize_t written = writev(log->fd, parts + done, (int)(log->part_count - done));

                if (written < 0 && errno == EINTR)
                        continue;
                if (written <= 0) {
                        lose(log, done, begun);
                        break;
                }
                log->size += (size_t)written;
                while (done < log->part_count && (size_t)written >= parts[done].iov_len) {
                        written -= (ssize_t)parts[done].iov_len;
                        begun = log->ends_line[done] ? 0 : begun + parts[done].iov_len;
                        done++;
                }
                if (written) {
                        parts[done].iov_base = (char *)parts[done].iov_base + written;
                        parts[done].iov_len -= (size_t)written;
                        begun += (size_t)written;
                }
        }
out:
        log->part_count = 0;
        log->part_bytes = 0;
}

static void add_part(struct crilog *log, const char *bytes, size_t length, bool ends_line)
{
        if (!length)
                return;
        log->parts[log->part_count] =
                (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
        log->ends_line[log->part_count++] = ends_line;
        log->part_bytes += length;
}

/* A line of the log: what is pending of the stream, then length bytes, of which the last is the
 * newline of a full line. */
static void add_line(struct crilog *log, struct crilog_stream *stream, enum tag tag,
                     const char *bytes, size_t length)
{
        enum { PARTS_OF_LINE = 4 };
        uint64_t size = log->size + log->part_bytes + log->prefix_length + stream->pending +
                        length + (tag == PARTIAL);

        if (log->part_count + PARTS_OF_LINE > CRILOG_PARTS_MAX ||
            (log->size_max && size > log->size_max))
                write_parts(log);
        if (log->journal)
                journal_send(log->journal, stream->is_error, tag == PARTIAL, stream->bytes,
                             stream->pending, bytes, length - (tag == FULL));
        add_part(log, log->prefix[tag], log->prefix_length, false);
        add_part(log, stream->bytes, stream->pending, false);
        add_part(log, bytes, length, tag == FULL);
        if (tag == PARTIAL)
                add_part(log, "\n", 1, true);
        /* The bytes stay where they are until write_parts: only the end of crilog_write overwrites
         * them. */
        stream->pending = 0;
}

static void set_prefix(struct crilog *log, const struct crilog_stream *stream, int64_t time)
{
        static const char tags[2] = {'P', 'F'};

        for (int tag = PARTIAL; tag <= FULL; tag++) {
                struct text prefix = text_in(log->prefix[tag], sizeof(log->prefix[tag]));
                char when[TEXT_TIME_LENGTH];

                text_time(when, time);
                text_add_bytes(&prefix, when, sizeof(when));
                text_add(&prefix, " ");
                text_add(&prefix, stream->name);
                text_add(&prefix, " ");
                text_add_bytes(&prefix, &tags[tag], 1);
                text_add(&prefix, " ");
                log->prefix_length = prefix.length;
        }
}

void crilog_write(struct crilog *log, struct crilog_stream *stream, const char *bytes,
                  size_t length, int64_t time)
{
        if (log->fd < 0 && !log->journal)
                return;
        set_prefix(log, stream, time);
        for (;;) {
                size_t room = log->line_max - stream->pending;
                size_t look = length < room + 1 ? length : room + 1;
                const char *newline = memchr(bytes, '\n', look);
                size_t taken;

                if (newline) {
                        taken = (size_t)(newline - bytes) + 1;
                        add_line(log, stream, FULL, bytes, taken);
                } else if (length > room) {
                        taken = room;
                        add_line(log, stream, PARTIAL, bytes, taken);
                } else {
                        break;
                }
                bytes += taken;
                length -= taken;
        }
        write_parts(log);
        memcpy(stream->bytes + stream->pending, bytes, length);
        stream->pending += length;
}

void crilog_finish(struct crilog *log, struct crilog_stream *stream, int64_t time)
{
        if ((log->fd < 0 && !log->journal) || !stream->pending)
                return;
        set_prefix(log, stream, time);
        add_line(log, stream, PARTIAL, "", 0);
        write_parts(log);
}
