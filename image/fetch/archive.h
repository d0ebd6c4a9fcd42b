/*
 * archive: the files in a tar archive or a folder that a stranger made, found by name.
 *
 * A tar file is indexed once and then read in place. What cannot be read in place (a pipe, a
 * compressed archive) is first written out into the staging folder. Names are plain: no "..",
 * nothing absolute, nothing twice. Of symlinks in a tar, one step is followed, inside the archive;
 * in a folder none. One thread; blocks.
 */
#ifndef CRISP_IMAGE_FETCH_ARCHIVE_H
#define CRISP_IMAGE_FETCH_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"

#define ARCHIVE_MEMBERS_MAX 100000
#define ARCHIVE_NAMES_MAX   (16u << 20)          /* bytes of all names */
#define ARCHIVE_FREE_MIN    (INT64_C(256) << 20) /* bytes that writing out leaves on the disk */

struct archive_index;

/*
 * fd (borrowed) is a folder, a file or a pipe. At most max bytes are written out, into a file
 * without a name in the folder staging_fd. INVALID_ARGUMENT for what is no archive and for names
 * that are not plain, DATA_LOSS for a damaged one, RESOURCE_EXHAUSTED for a bound.
 */
int archive_index_new(int fd, int staging_fd, int64_t max, struct archive_index **index,
                      struct error *err);
void archive_index_free(struct archive_index *index); /* null is allowed */

/* Where a file's bytes are. */
struct archive_file {
        int fd;
        int64_t offset;
        int64_t size;
        bool own; /* fd is this file's alone */
};

bool archive_has(const struct archive_index *index, const char *name);

/* NOT_FOUND with the name for one that is not there. archive_close is due after success. */
int archive_open(const struct archive_index *index, const char *name, struct archive_file *file,
                 struct error *err);
void archive_close(struct archive_file *file);

/* Reads up to length bytes at an offset into the file; 0 at its end. A negative errno. */
ssize_t archive_read_at(const struct archive_file *file, void *bytes, size_t length, int64_t at);

/* Adds a whole file of at most max bytes to *contents. Errors name it. */
int archive_get(const struct archive_index *index, const char *name, size_t max,
                struct buffer *contents, struct error *err);

#define AUTO_ARCHIVE_FILE CLEANUP(archive_close)

static inline void cleanup_archive_index(struct archive_index **index)
{
        archive_index_free(*index);
}
#define AUTO_ARCHIVE_INDEX CLEANUP(cleanup_archive_index)

#endif
