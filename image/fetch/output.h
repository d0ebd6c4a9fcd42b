/*
 * output: files that make up an archive, one after the other, into a tar file or a folder.
 *
 * A file's name and size may be known at its end only: then its header is written, in the place
 * that was left for it. So a tar file must be one that can be sought. Blocks; one thread.
 */
#ifndef CRISP_IMAGE_FETCH_OUTPUT_H
#define CRISP_IMAGE_FETCH_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct output;

/* fd is borrowed: an empty folder, or else an empty file. */
struct output *output_new(int fd, bool folder);
void output_free(struct output *output); /* null is allowed */

int output_begin(struct output *output, struct error *err);
int output_write(struct output *output, const void *bytes, size_t length, struct error *err);
/* Ends the file: its name is relative, of at most 100 bytes, and new. */
int output_end(struct output *output, const char *name, struct error *err);
/* All three for a file that is here. */
int output_put(struct output *output, const char *name, const void *bytes, size_t length,
               struct error *err);

/* After the last file. Nothing is synced. */
int output_finish(struct output *output, struct error *err);

static inline void cleanup_output(struct output **output)
{
        output_free(*output);
}
#define AUTO_OUTPUT CLEANUP(cleanup_output)

#endif
