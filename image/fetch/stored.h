/*
 * stored: the daemon's store, as crisp-image reads it: one folder, opened before anything else is
 * looked at. What is in it may be damaged. Blocks; any thread.
 */
#ifndef CRISP_IMAGE_FETCH_STORED_H
#define CRISP_IMAGE_FETCH_STORED_H

#include "base/buffer.h"
#include "base/error.h"

/* Opens "layers/HEX" and the like; digest must be valid. A negative errno without an error. */
int stored_open(int store_fd, const char *folder, const char *digest, int flags);

/* Adds a file of at most FETCH_DOCUMENT_MAX bytes to *contents. */
int stored_read(int store_fd, const char *folder, const char *digest, struct buffer *contents,
                struct error *err);

/* A configuration or manifest, whose bytes must have the digest: DATA_LOSS. */
int stored_document(int store_fd, const char *folder, const char *digest, struct buffer *contents,
                    struct error *err);

#endif
