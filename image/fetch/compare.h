/*
 * compare: a layer's tree beside what its tar stream says it should be.
 *
 * Type, mode, owner, time, extended attributes, link targets, devices and whiteouts of each entry,
 * and that the tree has nothing else. Contents are for others to prove (split.h), and marks of
 * opaque folders only the daemon may see: where they must be is said. One thread; blocks.
 */
#ifndef CRISP_IMAGE_FETCH_COMPARE_H
#define CRISP_IMAGE_FETCH_COMPARE_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/fetch/tree.h"

struct compare;

/* Takes a duplicate of root_fd. */
int compare_new(int root_fd, struct compare **compare, struct error *err);
void compare_free(struct compare *compare); /* null is allowed */

/* The layer's notes, as layer_encode_notes (layer.h) writes them: folders that it implies, links
 * that it does not have. DATA_LOSS for what is none. */
int compare_notes(struct compare *compare, const char *bytes, size_t length, struct error *err);

/* The stream's next entry. Only what makes it impossible to go on is an error. */
int compare_entry(struct compare *compare, const struct tree_entry *entry, int64_t size,
                  struct error *err);

/* After the last: looks for what should not be there, then tells each difference. */
typedef void compare_tell(void *argument, const char *path, const char *what, const char *how);
int compare_finish(struct compare *compare, compare_tell *tell, void *argument, struct error *err);

/* Afterwards: folders that must be marked opaque, borrowed; and the entries there were. */
const char *const *compare_opaque(const struct compare *compare, size_t *count);
uint64_t compare_entries(const struct compare *compare);

static inline void cleanup_compare(struct compare **compare)
{
        compare_free(*compare);
}
#define AUTO_COMPARE CLEANUP(cleanup_compare)

#endif
