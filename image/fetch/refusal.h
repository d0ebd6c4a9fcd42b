/*
 * refusal: what a server said when it did not give what it was asked for, in words fit for an
 * error.
 */
#ifndef CRISP_IMAGE_FETCH_REFUSAL_H
#define CRISP_IMAGE_FETCH_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "image/fetch/http.h"

#define REFUSAL_TEXT_MAX 320

/*
 * Writes "404 Not Found: MANIFEST_UNKNOWN: manifest unknown" into out: the status, and the server's
 * own message where its body is the JSON of registries or token servers. secrets (null-terminated)
 * never get into it: a message that has one is left out.
 */
void refusal_text(const struct http_call *call, const char *const *secrets,
                  char out[REFUSAL_TEXT_MAX]);

/* The code for a status that is no success: 401 UNAUTHENTICATED, 403 PERMISSION_DENIED, 404
 * NOT_FOUND, those that pass UNAVAILABLE, ... */
enum error_code refusal_code(long status);

/* Whether a later try may do better: 408, 429 and 5xx. */
bool refusal_is_passing(long status);

#endif
