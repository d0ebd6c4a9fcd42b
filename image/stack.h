/*
 * stack: an image's layers seen as overlayfs would show them, without mounting them.
 *
 * The layers lie still (nobody writes to them any more) but their contents are strangers': each
 * path is opened beneath its layer and through no symlink. Paths have no leading slash; "" and "."
 * are the root. Blocks; any thread.
 */
#ifndef CRISP_IMAGE_STACK_H
#define CRISP_IMAGE_STACK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/error.h"
#include "image/store.h"

#define STACK_LINKS_MAX 40 /* symlinks on the way to a path, as the kernel has it */

struct stack {
        int *layers; /* descriptors of their roots, the lowest first */
        size_t count;
        unsigned long steps; /* paths looked at so far */
        unsigned long steps_max;
};

enum stack_kind {
        STACK_NOTHING,
        STACK_FOLDER,
        STACK_OTHER, /* a file, symlink, device ... */
};

struct stack_view {
        enum stack_kind kind;
        size_t layers[STORE_LAYERS_MAX]; /* that show through, the highest first; of OTHER the only
                                            one */
        size_t count;
        bool over; /* a FOLDER hides something else than a folder in layer `under` */
        size_t under;
};

/* Whether st is a whiteout. */
bool stack_is_whiteout(const struct stat *st);

/* Opens path in one layer; flags as of open(2). A negative errno; -ENOENT where it is not there. */
int stack_open(struct stack *stack, size_t layer, const char *path, int flags);
/* The same for stat. */
int stack_stat(struct stack *stack, size_t layer, const char *path, struct stat *st);
/* Whether the folder hides those of lower layers. */
bool stack_is_opaque(struct stack *stack, size_t layer, const char *path);

/* What the lowest `height` layers show at path, which is not followed through symlinks. */
void stack_look(struct stack *stack, size_t height, const char *path, struct stack_view *view);

/*
 * Follows all symlinks on the way to path, the last one too if follow_last, in what the lowest
 * `height` layers show. Absolute links count from the image's root. What is missing is kept as it
 * is. -ELOOP, -ENAMETOOLONG.
 */
int stack_resolve(struct stack *stack, size_t height, const char *path, bool follow_last,
                  char out[PATH_MAX]);

/* Whether a layer above this one replaces, hides or removes what this one has at path. */
bool stack_is_covered(struct stack *stack, size_t layer, const char *path);

/* Whether the bound of steps was reached: then answers are not to be relied on. */
bool stack_is_exhausted(const struct stack *stack);

#endif
