/*
 * check: whether an image is what the OCI image specification asks for.
 */
#ifndef CRISP_IMAGE_FETCH_CHECK_H
#define CRISP_IMAGE_FETCH_CHECK_H

#include "base/arena.h"
#include "base/error.h"
#include "image/fetch/load.h"
#include "image/fetch/report.h"
#include "image/offline_request.h"

/*
 * Looks at an archive or layout (fd), or with request->remote at what the registry has, and reports
 * each thing that it looked at. An error is what keeps it from looking at all. Blocks.
 */
int check_run(const struct offline_request *request, const struct loaded *loaded, int fd,
              struct report *report, struct arena *arena, struct error *err);

#endif
