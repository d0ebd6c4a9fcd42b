/*
 * stage: a staging folder being filled: documents, layers and their records. request.h says what is
 * where. Blocks.
 */
#ifndef CRISP_IMAGE_FETCH_STAGE_H
#define CRISP_IMAGE_FETCH_STAGE_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "image/fetch/layer.h"
#include "image/request.h"

struct stage {
        int fd;        /* of the folder */
        int layers_fd; /* of the folders in it that layers and their records are made in */
        int tars_fd;
};

#define STAGE_INIT                                                                                 \
        {                                                                                          \
                -1, -1, -1                                                                         \
        }

/* path is the folder, which must be there. stage_fini is due, also after a failure. */
int stage_open(const char *path, struct stage *stage, struct error *err);
void stage_fini(struct stage *stage);

/* Writes a document that is not there yet. */
int stage_keep(const struct stage *stage, const char *name, const struct buffer *bytes,
               struct error *err);

/* What is said of a layer; unpacked is whether the job was done. Strings are copied into arena. */
void stage_describe(const struct layer_job *job, bool unpacked, struct arena *arena,
                    struct fetch_layer *layer);

/* Copies the strings of a layer that was unpacked into arena. */
void stage_copy_layer(struct arena *arena, struct fetch_layer *layer);

/*
 * Syncs the file system. A slow disk with much to write takes minutes: waiting (may be null) is
 * called every few seconds meanwhile.
 */
int stage_sync(const struct stage *stage, void (*waiting)(void *argument), void *argument,
               struct error *err);

/* Puts defaults where the limits say nothing, and what is allowed where they say too much. */
void stage_complete_limits(struct fetch_limits *limits);

#endif
