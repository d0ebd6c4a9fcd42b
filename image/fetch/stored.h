/*
 * stored: the daemon's store, as crisp-image reads it: folders, opened before anything else is
 * looked at. What is in them may be damaged. Blocks; any thread.
 */
#ifndef CRISP_IMAGE_FETCH_STORED_H
#define CRISP_IMAGE_FETCH_STORED_H

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "image/offline_request.h"

/* The folders of a store and of those whose images and layers it uses. */
struct stored {
        int fds[OFFLINE_STORES_MAX]; /* what the first has counts */
        size_t count;
};

/* Opens "layers/HEX" and the like; digest must be valid. A negative errno without an error. */
int stored_open(const struct stored *stored, const char *folder, const char *digest, int flags);

/* Adds a file of at most FETCH_DOCUMENT_MAX bytes to *contents. */
int stored_read(const struct stored *stored, const char *folder, const char *digest,
                struct buffer *contents, struct error *err);

/* A configuration or manifest, whose bytes must have the digest: DATA_LOSS. */
int stored_document(const struct stored *stored, const char *folder, const char *digest,
                    struct buffer *contents, struct error *err);

#endif
