/*
 * signatures: fetching what was signed about an image.
 *
 * Simple signatures from a web server beside the registry (BASE/REPOSITORY@sha256=HEX/signature-N,
 * N from 1 until one is not there), sigstore's from the image's own repository (tag
 * sha256-HEX.sig). For the image's manifest and, where there is one, for the index that led to it.
 * Nothing is verified here. Blocking.
 */
#ifndef CRISP_IMAGE_FETCH_SIGNATURES_H
#define CRISP_IMAGE_FETCH_SIGNATURES_H

#include "base/arena.h"
#include "base/error.h"
#include "image/fetch/registry.h"
#include "image/request.h"

/*
 * Fills found->signatures, which live in arena, for found's digests. None is no error; a place that
 * cannot be asked is.
 */
int signatures_fetch(const struct fetch_request *request, struct registry *registry,
                     struct http_client *client, struct arena *arena,
                     struct fetch_signatures *found, struct error *err);

#endif
