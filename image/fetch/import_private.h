/*
 * import_private: what the files that import archives share. Nobody else includes this.
 */
#ifndef CRISP_IMAGE_FETCH_IMPORT_PRIVATE_H
#define CRISP_IMAGE_FETCH_IMPORT_PRIVATE_H

#include <fcntl.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/table.h"
#include "image/fetch/archive.h"
#include "image/fetch/digest.h"
#include "image/fetch/import.h"
#include "image/fetch/manifest.h"
#include "image/fetch/ring.h"
#include "image/fetch/stage.h"

struct import {
        const struct offline_request *request;
        const char *staging;
        int staging_fd;
        struct fetch_limits limits;
        _Atomic int64_t notes_left;
        struct report *report;
        struct arena *arena;
        struct archive_index *index;
        struct table *known; /* diff IDs that need not be unpacked */
        struct offline_reply *done;
        size_t done_count;
};

struct import_layer {
        const char *name;   /* of its file in the archive */
        const char *digest; /* of that file; null: not known */
        int64_t size;       /* of that file; -1: not known */
        const char *diff_id;
};

struct import_image {
        struct buffer manifest, config; /* byte for byte */
        const char *manifest_digest, *media_type, *config_digest;
        const struct import_layer *layers;
        size_t layer_count;
        const char *const *names; /* in full */
        size_t name_count;
};

static inline void import_image_fini(struct import_image *image)
{
        buffer_fini(&image->manifest);
        buffer_fini(&image->config);
}
#define AUTO_IMPORT_IMAGE CLEANUP(import_image_fini)

/* Unpacks the image into a staging folder of its own, and keeps what is to be said of it. */
int import_image(struct import *import, const struct import_image *image, struct error *err);
/* Parses the image's configuration, which must have so many layers and be for this system. */
int import_config(struct import *import, struct import_image *image, struct manifest_config *config,
                  size_t layers, struct error *err);
/* Adds a name, in full, once. */
int import_add_name(struct import *import, struct import_image *image, const char *text,
                    struct error *err);
/* Gives an image without a name the request's. */
int import_need_name(struct import *import, struct import_image *image, struct error *err);

int import_oci(struct import *import, struct error *err);
int import_docker(struct import *import, struct error *err);

#endif
