/*
 * blob: a layer's bytes from a registry, in order.
 *
 * Blocking; any thread, each with an http_client of its own.
 */
#ifndef CRISP_IMAGE_FETCH_BLOB_H
#define CRISP_IMAGE_FETCH_BLOB_H

#include <stdbool.h>
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

/* What is fetched of a blob by a request of its own. */
struct blob_part {
        const char *digest;
        int64_t size;    /* of the whole blob */
        int64_t offset;  /* where it starts; moves on with each byte that the sink has */
        int64_t end;     /* where it ends; size: with the blob */
        bool strict;     /* an answer that is no range is refused. Else it is used, to its end */
        bool unsuited;   /* set where the server does not do ranges as it is asked to */
        int resumptions; /* so far */
        blob_sink *sink;
        void *argument;
};

/*
 * Gets the part from the registry's endpoints, resuming where a transfer was cut. Errors as of
 * blob_stream. A part that is not strict may end at the blob's end in place of its own.
 */
int blob_fetch_part(struct registry *registry, struct http_client *client, struct blob_part *part,
                    struct error *err);

/* Whether these endpoints' credentials get the blob: asks for it without fetching it. 0 also where
 * that cannot be asked; errors as of registry_get. */
int blob_check(struct registry *registry, struct http_client *client, const char *digest,
               struct error *err);

#endif
