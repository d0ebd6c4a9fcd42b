/*
 * save: images out of the store into an archive that other tools read.
 */
#ifndef CRISP_IMAGE_FETCH_SAVE_H
#define CRISP_IMAGE_FETCH_SAVE_H

#include "base/error.h"
#include "image/fetch/report.h"
#include "image/fetch/stored.h"
#include "image/offline_request.h"

/*
 * Writes the request's images, which are in stored, to output_fd, and ends the report. Layers
 * are made again from their records; each is written once. Configurations stay as they are, byte
 * for byte, manifests are new. FAILED_PRECONDITION for a layer without a record, DATA_LOSS for one
 * that is not what it was. Blocks.
 */
int save_run(const struct offline_request *request, const struct stored *stored, int output_fd,
             struct report *report, struct error *err);

#endif
