/*
 * split: what of a layer's tar stream is not in its tree, so that the stream can be made again,
 * byte for byte.
 *
 * The contents of regular files are in the tree; headers, padding, sparse files' data and whatever
 * follows the archive's end are not. A record has those, and says where contents go between them.
 *
 * The file: 24 bytes plain ("crisptar", a byte with the version, a byte that is 1 where contents
 * were kept, 6 zeroes, the stream's length in 8 bytes, little-endian), then one zstd frame with a
 * checksum, of operations. Numbers are little-endian base-128.
 *
 *     'r' LENGTH bytes               these bytes as they are
 *     'f' LENGTH PATHLENGTH path     the contents of this file of the tree, no symlink in its path
 *     'c' 8 bytes                    the CRC-64 (ECMA-182, reflected) of the contents just named
 *     'k' PATHLENGTH path LENGTH bytes   what the last 'f' of that path before this stood for: a
 *                                        later entry took the file's place in the tree
 *
 * One object belongs to one thread. Errors name what could not be done; the layer is for the caller
 * to name.
 */
#ifndef CRISP_IMAGE_FETCH_SPLIT_H
#define CRISP_IMAGE_FETCH_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define SPLIT_FILE_MAX (INT64_C(1) << 30) /* bytes of a record; what needs more gets none */
#define SPLIT_KEPT_MAX (16u << 20)        /* bytes of replaced files' contents in one record */

/* ---- while a layer is unpacked ---- */

struct split_writer;

/* Begins the record name in the folder, which must not be there. Blocks, as do all of these. */
int split_writer_new(int folder_fd, const char *name, struct split_writer **writer,
                     struct error *err);
/* Null is allowed. A record that was not finished is removed. */
void split_writer_free(struct split_writer *writer);

/* The next bytes of the stream; they must stay until split_return. */
void split_lend(struct split_writer *writer, const char *bytes, size_t length);
/* They are about to go; who parses has used the stream up to consumed. */
int split_return(struct split_writer *writer, int64_t consumed, struct error *err);

/*
 * Contents of path (resolved: no symlink leads to it) begin in the stream at start. All before has
 * been lent. Call split_contents_add for each part, then split_contents_end with where the parser
 * is by then: contents that are not where they should be spoil the record.
 */
int split_contents(struct split_writer *writer, int64_t start, int64_t length, const char *path,
                   struct error *err);
void split_contents_add(struct split_writer *writer, const void *bytes, size_t length);
int split_contents_end(struct split_writer *writer, int64_t position, struct error *err);

/* The regular file path, in the open folder as name, is about to go. Its contents are kept, or the
 * record is spoilt. */
int split_replaced(struct split_writer *writer, int parent_fd, const char *name, const char *path,
                   struct error *err);
/* The stream cannot be made again: there will be no record, and that is no error. */
void split_spoil(struct split_writer *writer);

/* After the last split_return: completes the record, or removes it where it was spoilt. */
int split_finish(struct split_writer *writer, struct error *err);

/* ---- making the stream again ---- */

struct split_sink {
        /* The stream's next bytes. What it returns below 0 ends split_remake. */
        int (*bytes)(void *argument, const char *bytes, size_t length, struct error *err);
        /* A file that is not what it was, in words; then what is there, cut or filled with zeroes,
         * goes on in its place. */
        void (*damaged)(void *argument, const char *path, const char *how);
        void *argument;
};

/* The stream's length in bytes. DATA_LOSS for what is no record. */
int split_length(int record_fd, int64_t *length, struct error *err);

/*
 * Makes the stream from the record (read from its start) and the tree. Nothing is read outside the
 * tree, nor through a symlink. DATA_LOSS for a damaged record and one that makes more than its own
 * length. Blocks.
 */
int split_remake(int record_fd, int root_fd, const struct split_sink *sink, struct error *err);

static inline void cleanup_split_writer(struct split_writer **writer)
{
        split_writer_free(*writer);
}
#define AUTO_SPLIT_WRITER CLEANUP(cleanup_split_writer)

#endif
