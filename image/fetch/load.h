/*
 * load: what a request names on this machine, read before the process shuts itself in.
 *
 * Certificates, keys and credentials are the operator's files. They are read first, then the
 * process confines itself, and only then does the first byte of a stranger's come.
 */
#ifndef CRISP_IMAGE_FETCH_LOAD_H
#define CRISP_IMAGE_FETCH_LOAD_H

#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/endpoint.h"
#include "image/fetch/keyring.h"
#include "image/request.h"

struct loaded {
        struct endpoint_list *endpoints;
        struct keyring *keyring; /* null: there are no decryption keys */
};

/* All that request names, credentials included: after it the request may be wiped. Blocks. */
int load_request(const struct fetch_request *request, struct loaded *loaded, struct error *err);
void loaded_fini(struct loaded *loaded); /* wipes secrets; an empty one is fine */

#define AUTO_LOADED CLEANUP(loaded_fini)

#endif
