/*
 * unpack: a tar stream into a layer's tree.
 *
 * Archives come through libarchive's tar reader alone: no other format and no filter, which could
 * start programs. The thread's locale must be UTF-8 (setlocale), or names in PAX headers are lost.
 */
#ifndef CRISP_IMAGE_FETCH_UNPACK_H
#define CRISP_IMAGE_FETCH_UNPACK_H

#include <stdint.h>

#include "base/error.h"
#include "image/fetch/ring.h"
#include "image/fetch/split.h"
#include "image/fetch/tree.h"

/*
 * Reads the ring to its end (also what follows the archive's own end) and makes every entry in the
 * tree, then finishes the tree. *entries gets their number. DATA_LOSS for what is no tar archive or
 * ends early, RESOURCE_EXHAUSTED for more than max_entries, CANCELLED when the ring was broken by
 * others; further those of tree_add. On failure the ring is broken. split, unless null, gets the
 * record of the stream, and is finished. Blocks.
 */
int unpack_run(struct ring *in, struct tree *tree, struct split_writer *split, int64_t max_entries,
               int64_t *entries, struct error *err);

/*
 * The same for a stream whose entries are only looked at: each is handed to visit, with the size
 * that it has for a regular file. What visit returns below 0 ends it.
 */
typedef int unpack_visit(void *argument, const struct tree_entry *entry, int64_t size,
                         struct error *err);
int unpack_look(struct ring *in, unpack_visit *visit, void *argument, struct error *err);

#endif
