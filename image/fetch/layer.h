/*
 * layer: one layer from the registry to a folder, in one pass.
 *
 * Four threads work on it at once: the calling one downloads and checks the compressed digest, one
 * decompresses, one checks the diff ID, one writes the tree. Decompressing takes longest: nothing
 * else is done on its thread.
 */
#ifndef CRISP_IMAGE_FETCH_LAYER_H
#define CRISP_IMAGE_FETCH_LAYER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "image/fetch/blob.h"
#include "image/fetch/keyring.h"
#include "image/fetch/manifest.h"
#include "image/fetch/ranges.h"
#include "image/fetch/ring.h"
#include "image/fetch/split.h"
#include "image/fetch/tree.h"
#include "image/request.h"

#define LAYER_NAME_LENGTH 24 /* of a layer's folder */

/* Called from the downloading thread, for every part that comes. */
typedef void layer_progress(void *argument, const struct fetch_progress *progress);

struct layer_job {
        /* Set by the caller, borrowed. */
        const struct descriptor *descriptor;
        const char *diff_id;
        int layers_fd; /* the folder to make the layer's in */
        int tars_fd;   /* the folder for its record (split.h), which gets the same name; 0: none */
        struct ranges *ranges; /* where its bytes come from; not for layer_unpacker_start */
        const struct fetch_limits *limits;
        const struct keyring *keyring; /* for a layer that is encrypted; or null */
        _Atomic int64_t *notes_left;   /* as tree_new has it */
        layer_progress *progress;
        void *argument;

        /* The result. */
        char name[LAYER_NAME_LENGTH + 1];
        int64_t unpacked;
        int64_t entries;
        struct split_writer *split; /* while it is unpacked */
        struct tree *tree;          /* for tree_notes; the caller's to free, also after a failure */
};

/*
 * Fetches the layer and, where it is encrypted, decrypts it. DATA_LOSS where a digest, a size or a
 * diff ID is not what was promised, else what decrypt_new, ranges_stream, decompress_run and
 * unpack_run say. Blocks until its threads have ended. What it made stays, also after a failure.
 */
int layer_fetch(struct layer_job *job, struct http_client *client, struct error *err);

/* The second half alone, for bytes that come from elsewhere: decompresses and unpacks what is
 * written to ring. */
struct layer_unpacker;
int layer_unpacker_start(struct layer_job *job, struct ring *ring, struct layer_unpacker **unpacker,
                         struct error *err);
/* Waits for its end, after ring_finish or ring_break. Frees unpacker. CANCELLED where the ring was
 * broken by others. */
int layer_unpacker_join(struct layer_unpacker *unpacker, struct error *err);

#endif
