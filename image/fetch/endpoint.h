/*
 * endpoint: a place that may have the image: its URL, and what it and we show to each other.
 *
 * Made from the request before the process is confined and anything is asked: the files that an
 * endpoint names are read then and kept in memory. Any thread; read only afterwards, except for
 * auth, which locks itself.
 */
#ifndef CRISP_IMAGE_FETCH_ENDPOINT_H
#define CRISP_IMAGE_FETCH_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/auth.h"
#include "image/fetch/http.h"
#include "image/request.h"

#define ENDPOINT_FILE_MAX (1u << 20) /* bytes of a file of certificates */
#define ENDPOINT_URL_MAX  2048       /* bytes */

struct endpoint {
        char *url;   /* scheme://host[:port]/v2/[prefix/]repository */
        char *query; /* "?ns=...", or empty: to put after what is below url */
        char *name;  /* host[:port], for errors; http:// before it where https was tried first */
        bool digests_only;
        struct http_trust trust;
        struct http_identity identity;
        struct auth *auth;
};

struct endpoint_list {
        struct endpoint *list;
        size_t count;
};

/*
 * The request's endpoints, in their order; everything is copied. Blocks on the disk: reads the
 * files of certificates and keys. INVALID_ARGUMENT for a request without endpoints, a URL that is
 * none, and for credentials and headers that cannot be sent; FAILED_PRECONDITION for a file that
 * cannot be read or has not in it what it should, and for a key with a passphrase.
 */
int endpoint_list_new(const struct fetch_request *request, struct endpoint_list **endpoints,
                      struct error *err);
void endpoint_list_free(struct endpoint_list *endpoints); /* wipes secrets; null is allowed */

static inline void cleanup_endpoint_list(struct endpoint_list **endpoints)
{
        endpoint_list_free(*endpoints);
}
#define AUTO_ENDPOINTS CLEANUP(cleanup_endpoint_list)

#endif
