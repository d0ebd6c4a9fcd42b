/*
 * layer: the layers of a store, and the trees on disk that belong to them.
 *
 * A layer is in the table while somebody refers to it: images and holds. Its tree has the diff ID's
 * digits for a name, and a number below l/ for overlayfs. The functions that say so block and take
 * no notice of the table: for workers.
 */
#ifndef CRISP_IMAGE_LAYER_H
#define CRISP_IMAGE_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/table.h"
#include "image/reference.h"
#include "image/request.h"

#define LAYER_NUMBER_MAX                                                                           \
        999999 /* six digits and a colon, 500 times, are 3500 bytes of overlayfs' 4096 */

struct layer {
        char *name; /* the diff ID; of a fix-up the chain ID of the layers that it goes on */
        bool is_fixup;
        bool is_artifact; /* its name is a manifest's digest: never to be taken for a diff ID */
        const char
                *home;   /* the additional store that it lies in, borrowed; null: the store's own */
        unsigned number; /* of its short name */
        uint64_t bytes;  /* of its contents */
        uint64_t inodes;
        bool noted;     /* has something to mend: notes/HEX is there */
        bool bare_root; /* has no entry for its own root folder */
        bool placing;   /* its tree is on its way into place: nobody may count on it yet */
        unsigned refs;
};

/* The digits of a digest ("sha256:abc..." gives "abc..."); the digest must be valid. */
const char *layer_hex(const char *digest);

/* The folder of its tree, relative to the store that it lies in: "layers/HEX", "fixups/HEX" or
 * "artifacts/HEX". On the heap. */
char *layer_place_name(const struct layer *layer);

/* The same as the store reaches it: an absolute path where it lies in an additional store, which
 * openat(2) and its like take beside any folder. On the heap. */
char *layer_path(const struct layer *layer);

/* The chain ID of these layers, one or more, the lowest first, on the heap (OCI image-spec,
 * config.md). */
char *layer_chain_id(struct layer *const *layers, size_t count);

struct layer *layer_new(const char *name, bool is_fixup);
void layer_free(struct layer *layer);

/* ---- blocking, any thread ---- */

/*
 * Marks folders of the tree in directory_fd as hiding what lower layers have:
 * trusted.overlay.opaque. Paths that leave the tree or that are no folders are refused.
 */
int layer_mark_opaque(int directory_fd, const char *const *paths, size_t count, struct error *err);

/* The first of the folders that is not there, or not marked so; null where all are. */
const char *layer_first_unmarked(int directory_fd, const char *const *paths, size_t count);

/* Links l/NUMBER to the layer's tree, in the store's folder. Replaces what has that name. */
int layer_link(int store_fd, const struct layer *layer, struct error *err);

/*
 * Moves source (relative to source_fd) to target in store_fd. What is there already is moved to
 * where source was: nothing is removed here.
 */
int layer_place(int source_fd, const char *source, int store_fd, const char *target,
                struct error *err);

/*
 * What a layer says for the fix-up (see fixup.h): kept as strings, each ended by a zero byte, "i"
 * before the path of a folder that it implies, "l" before the path of a link, followed by its
 * target. Paths that are not plain (with empty parts, "." or "..") are refused; targets are looked
 * up with care, and may be anything.
 */
int layer_encode_notes(const struct fetch_layer *layer, struct buffer *notes, struct error *err);

#endif
