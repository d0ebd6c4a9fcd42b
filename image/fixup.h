/*
 * fixup: what an image's layers cannot say alone.
 *
 * Each layer is unpacked without its parents. So it cannot know the owner and mode of a folder that
 * it has no entry for, that a folder which it implies is a symlink below (bin -> usr/bin), nor link
 * to a file of another layer. It notes these, and a small layer on top of the image's others says
 * what comes of them together.
 */
#ifndef CRISP_IMAGE_FIXUP_H
#define CRISP_IMAGE_FIXUP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "image/layer.h"

#define FIXUP_STEPS_MAX     4000000     /* paths looked at for one image */
#define FIXUP_REDIRECTS_MAX 1000        /* folders of one image that a symlink leads elsewhere */
#define FIXUP_NOTES_MAX     (64u << 20) /* bytes of one layer's notes */

/*
 * Makes the fix-up of these layers (the lowest first, all in place in store_fd) as the folder name
 * in directory_fd. *needed is whether there is anything in it; where not, nothing is left there.
 * Fills layer's inodes. FAILED_PRECONDITION where a hard link leads nowhere.
 * Blocks; any thread.
 */
int fixup_build(int store_fd, struct layer *const *layers, size_t count, int directory_fd,
                const char *name, struct layer *layer, bool *needed, struct error *err);

#endif
