/*
 * endpoint: a place that may have the image, as its URL and what convinces it.
 *
 * Made from the request's endpoints before anything is asked. Any thread; read only afterwards,
 * except for auth, which locks itself.
 */
#ifndef CRISP_IMAGE_FETCH_ENDPOINT_H
#define CRISP_IMAGE_FETCH_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/auth.h"
#include "image/reference.h"
#include "image/request.h"

struct endpoint {
        char *url;  /* scheme://host[:port]/v2/[prefix/]repository */
        char *name; /* host[:port], for errors */
        bool insecure;
        struct auth *auth;
};

/*
 * The endpoints of a request for reference, in their order; everything is copied. Without any in
 * the request it is the reference's registry: https, or http where that is this machine.
 * INVALID_ARGUMENT for a URL that is none, and for credentials that cannot be sent.
 */
int endpoint_list_new(const struct fetch_request *request, const struct reference *reference,
                      struct endpoint **endpoints, size_t *count, struct error *err);
void endpoint_list_free(struct endpoint *endpoints, size_t count); /* null is allowed */

#endif
