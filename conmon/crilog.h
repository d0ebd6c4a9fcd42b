/*
 * crilog: a container's log as the kubelet reads it.
 *
 *     2016-10-06T00:17:09.669794202Z stdout F content
 *
 * One line for each line of the container: time, stream, F for a full line and P for a part of one
 * that goes on in the stream's next line, then the bytes as they came. A line of more than line_max
 * bytes is cut into parts. The time is when the bytes that complete the line were read.
 *
 * The container must never wait for a disk: what cannot be written is counted and dropped, in whole
 * lines.
 */
#ifndef CRISP_CONMON_CRILOG_H
#define CRISP_CONMON_CRILOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "conmon/journal.h"
#include "conmon/text.h"

#define CRILOG_LINE_DEFAULT                                                                        \
        16384 /* bytes of content in a line of the log; as the other runtimes have it */
#define CRILOG_LINE_MAX  (128 * 1024) /* that can be asked for; journald's socket takes no more */
#define CRILOG_PARTS_MAX 192          /* of one writev */

/* The beginning of a line whose end has not come yet. */
struct crilog_stream {
        const char *name; /* "stdout" or "stderr" */
        bool is_error;    /* the latter */
        size_t pending;
        char *bytes; /* CRILOG_LINE_MAX of them, borrowed */
};

struct crilog {
        int fd;           /* -1: there is no log */
        const char *path; /* borrowed */
        uint64_t size;
        uint64_t size_max;       /* or 0 */
        unsigned files_max;      /* that the log may have where size_max is set, 1 or more */
        size_t line_max;         /* of content, at most CRILOG_LINE_MAX */
        int64_t last_rotation;   /* see rotation.h */
        struct journal *journal; /* gets a copy of each line; or null. Borrowed */
        uint64_t lost_lines;
        bool torn; /* the file ends within a line that could not be completed */

        /* the lines that the next writev takes */
        struct iovec parts[CRILOG_PARTS_MAX];
        bool ends_line[CRILOG_PARTS_MAX];
        unsigned part_count;
        size_t part_bytes;
        char prefix[2][TEXT_TIME_LENGTH + 16]; /* "TIME stdout P " and "... F " */
        size_t prefix_length;
};

/* How much of a container's output is kept; zeroes are the defaults. */
struct crilog_bounds {
        uint64_t size_max;  /* bytes of a file, which only a single longer line exceeds: then an
                               empty one takes its place; or 0 */
        uint64_t files_max; /* files with those that the log was before, at least 1 */
        uint64_t line_max;  /* bytes of content, at most CRILOG_LINE_MAX */
};

/*
 * Opens the log, made with mode 0640 where it is missing; a null path gives a log that swallows
 * everything. A symlink is refused: who may write into the log's folder must not choose what we
 * write to. Returns 0 or a negative errno.
 */
int crilog_open(struct crilog *log, const char *path, const struct crilog_bounds *bounds);

/* Opens the path anew, after a rotation. On failure, a negative errno, the old file stays in use.
 */
int crilog_reopen(struct crilog *log);

/* Writes the lines that bytes complete; keeps the rest in the stream. */
void crilog_write(struct crilog *log, struct crilog_stream *stream, const char *bytes,
                  size_t length, int64_t time);

/* The stream has ended: what is left of it, if anything, becomes a last line with tag P. */
void crilog_finish(struct crilog *log, struct crilog_stream *stream, int64_t time);

void crilog_close(struct crilog *log);

#endif
