/*
 * import: images out of an archive or a layout into the staging folder, as a pull leaves them
 * there.
 */
#ifndef CRISP_IMAGE_FETCH_IMPORT_H
#define CRISP_IMAGE_FETCH_IMPORT_H

#include "base/arena.h"
#include "base/error.h"
#include "image/fetch/report.h"
#include "image/offline_request.h"

/*
 * Unpacks the images of the archive (a file, also compressed; a pipe, which is spooled into the
 * staging folder; the folder of a layout) into staging/0, staging/1, ... and says each with its
 * names. Every digest is checked. A layer that the request has as present, or that an earlier image
 * had, is not unpacked again. What is said is synced. Blocks.
 */
int import_run(const struct offline_request *request, int fd, struct report *report,
               struct arena *arena, struct error *err);

#endif
