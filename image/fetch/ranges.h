/*
 * ranges: big blobs of one pull, each fetched in parts by several connections.
 *
 * A blob belongs to the worker that streams it. Workers that have no blob of their own serve the
 * others: each fetches the next part of a blob into memory, where it waits for its turn. One
 * connection a worker; a bounded number of parts for the whole pull.
 *
 * That is done while the blob's own worker waits for the network more than for its sink: else they
 * would only take the processor from it.
 *
 * A server says with its first answer whether it does ranges. Where it does not, or where a part
 * fails for good, the rest of the blob comes in one stream.
 *
 * Blocking; any thread, each with an http_client of its own.
 */
#ifndef CRISP_IMAGE_FETCH_RANGES_H
#define CRISP_IMAGE_FETCH_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/fetch/blob.h"
#include "image/fetch/http.h"
#include "image/fetch/manifest.h"
#include "image/fetch/registry.h"
#include "image/fetch/stop.h"

struct ranges;

/* registry and stop are borrowed. parallel: workers there may be; 1: everything is streamed. */
struct ranges *ranges_new(struct registry *registry, struct stop *stop, int64_t parallel);
void ranges_free(struct ranges *ranges); /* no worker is left; null is allowed */

/* Whether a blob is worth more than one connection. Not one with URLs of its own: nobody knows
 * where it will come from. */
bool ranges_suit(const struct ranges *ranges, const struct descriptor *descriptor);

/* As blob_stream, whether the blob suits or not; sink is called from this thread. */
int ranges_stream(struct ranges *ranges, struct http_client *client,
                  const struct descriptor *descriptor, blob_sink *sink, void *argument,
                  struct error *err);

/* A worker begins, before its thread runs. */
void ranges_enter(struct ranges *ranges);
/* It has no blob any more: serves the others until none of them has one, or until stop. */
void ranges_serve(struct ranges *ranges, struct http_client *client);

#endif
