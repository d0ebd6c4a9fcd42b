/*
 * registry: getting documents and blobs of one repository from the places that have it.
 *
 * Endpoints are tried in order; each passing failure (no connection, 429, 5xx, a cut or stalled
 * transfer) is tried again a bounded number of times, with growing pauses or as long as Retry-After
 * says. Errors name every endpoint with what it said. Blocking; any thread, each with an
 * http_client of its own.
 */
#ifndef CRISP_IMAGE_FETCH_REGISTRY_H
#define CRISP_IMAGE_FETCH_REGISTRY_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/endpoint.h"
#include "image/fetch/http.h"
#include "image/request.h"

struct registry;

/* endpoints are borrowed; limits are copied, none of them 0. */
struct registry *registry_new(const struct endpoint_list *endpoints,
                              const struct fetch_limits *limits, struct stop *stop);
void registry_free(struct registry *registry); /* null is allowed */

/*
 * Gets a whole small document: kind is "manifests" or "blobs", name a tag or digest. *body is added
 * to; content_type gets the answer's. UNAVAILABLE, NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED
 * and the like with all endpoints' answers; DATA_LOSS past max bytes.
 */
int registry_get(struct registry *registry, struct http_client *client, const char *kind,
                 const char *name, const char *accept, size_t max, struct buffer *body,
                 char content_type[128], struct error *err);

/* ---- for what else is asked of a registry ---- */

/* Performs call on one endpoint, answering challenges. 0 after a 2xx. *passing says whether trying
 * again may help. */
int registry_perform(const struct endpoint *endpoint, struct http_client *client,
                     struct http_call *call, bool *passing, struct error *err);

/* One request to one endpoint; call has who the endpoint is trusted by and nothing else yet. */
typedef int registry_request(const struct endpoint *endpoint, struct http_client *client,
                             void *argument, struct http_call *call, bool *passing,
                             struct error *err);

/* Makes the request of one endpoint after the other, each as often as it may help. by_tag: asks
 * what a tag stands for, which some endpoints are not to be trusted with. */
int registry_try(struct registry *registry, struct http_client *client, bool by_tag,
                 registry_request *function, void *argument, struct error *err);

/*
 * The same of a URL that a descriptor names: an endpoint that is shown nothing of ours, and whose
 * url is this one as it stands. Https, or http where the registry itself speaks that.
 */
int registry_try_url(struct registry *registry, struct http_client *client, const char *url,
                     registry_request *function, void *argument, struct error *err);

static inline void cleanup_registry(struct registry **registry)
{
        registry_free(*registry);
}
#define AUTO_REGISTRY CLEANUP(cleanup_registry)

#endif
