/*
 * spool: an archive that cannot be read in place, written out uncompressed. Blocks.
 */
#ifndef CRISP_IMAGE_FETCH_SPOOL_H
#define CRISP_IMAGE_FETCH_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Whether the file begins as gzip or zstd do. */
bool spool_is_compressed(int fd);

/*
 * Reads fd from where it is to its end, and writes what it unpacks to into a file without a name in
 * the folder, whose descriptor is the caller's. RESOURCE_EXHAUSTED past max bytes, and before less
 * than free_min bytes are left on the disk.
 */
int spool_out(int fd, int folder_fd, int64_t max, int64_t free_min, int *spooled,
              struct error *err);

#endif
