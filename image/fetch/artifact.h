/*
 * artifact: what is kept like an image and is none.
 *
 * An OCI manifest whose configuration is not a container image's: models, charts, policies. Its
 * blobs become files of one folder, by their titles, as they come. Blocking; artifact_fetch from
 * any thread, each with an http_client of its own.
 */
#ifndef CRISP_IMAGE_FETCH_ARTIFACT_H
#define CRISP_IMAGE_FETCH_ARTIFACT_H

#include <stdbool.h>

#include "image/fetch/layer.h"
#include "image/fetch/manifest.h"

/* Whether the manifest is an artifact's. */
bool artifact_is(const struct manifest *manifest);

struct artifact {
        int fd; /* of its folder; -1 before artifact_open */
        char name[LAYER_NAME_LENGTH + 1];
        const char **titles; /* paths in the folder, one for each blob */
        int64_t bytes;       /* of all blobs */
};

/*
 * Makes the folder in layers_fd, with the folders that titles imply. A blob without a title
 * (org.opencontainers.image.title) gets the digits of its digest. INVALID_ARGUMENT for a title that
 * leaves the folder, is too deep, or comes twice. What is given lives in arena; the descriptor is
 * the caller's to close.
 */
int artifact_open(const struct manifest *manifest, int layers_fd, struct arena *arena,
                  struct artifact *artifact, struct error *err);

/* Fetches the job's descriptor into the file title. Errors as of layer_fetch. */
int artifact_fetch(const struct artifact *artifact, const char *title, const struct layer_job *job,
                   struct http_client *client, struct error *err);

/* Adds its folder as the one layer of result, which has the manifest's digest already. */
void artifact_describe(const struct artifact *artifact, const struct manifest *manifest,
                       struct arena *arena, struct fetch_result *result);

#endif
