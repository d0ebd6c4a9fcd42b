/*
 * blob: a layer's bytes from a registry, in order.
 *
 * Blocking; any thread, each with an http_client of its own.
 */
#ifndef CRISP_IMAGE_FETCH_BLOB_H
#define CRISP_IMAGE_FETCH_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/fetch/manifest.h"
#include "image/fetch/registry.h"

/* Gets parts of a blob, in order and each byte once. A negative return ends the transfer with it.
 */
typedef int blob_sink(void *argument, const char *bytes, size_t length, struct error *err);

/*
 * Gets a blob of exactly the size that its descriptor says, resuming where a transfer was cut; what
 * no endpoint has comes from the descriptor's URLs, where it has any. Errors as of registry_get;
 * DATA_LOSS for a blob that is longer. Does not check its digest.
 */
int blob_stream(struct registry *registry, struct http_client *client,
                const struct descriptor *descriptor, blob_sink *sink, void *argument,
                struct error *err);

/* Whether these endpoints' credentials get the blob: asks for it without fetching it. 0 also where
 * that cannot be asked; errors as of registry_get. */
int blob_check(struct registry *registry, struct http_client *client, const char *digest,
               struct error *err);

#endif
