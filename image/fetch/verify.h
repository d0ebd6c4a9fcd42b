/*
 * verify: proof that what the store has is what was pulled.
 */
#ifndef CRISP_IMAGE_FETCH_VERIFY_H
#define CRISP_IMAGE_FETCH_VERIFY_H

#include "base/error.h"
#include "image/fetch/report.h"
#include "image/fetch/stored.h"
#include "image/offline_request.h"

/*
 * Looks at every image of the request, and once at each of their layers, in stored. Everything
 * found goes to the report, which is ended; an error is what keeps it from looking at all. Blocks.
 */
int verify_run(const struct offline_request *request, const struct stored *stored,
               struct report *report, struct error *err);

#endif
