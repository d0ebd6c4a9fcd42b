/*
 * tree: a folder that fills with what a layer's archive says, and that nothing gets out of.
 *
 * Every path is resolved below the root's descriptor (openat2, RESOLVE_IN_ROOT): a symlink in a
 * parent leads to where it would in a container that had this layer alone. What an entry makes is
 * never reached through a symlink. Whiteouts become overlayfs whiteouts; what overlayfs needs
 * privileges for, or what one layer cannot know alone, is noted instead. A later entry of the same
 * path replaces the earlier one. One thread.
 */
#ifndef CRISP_IMAGE_FETCH_TREE_H
#define CRISP_IMAGE_FETCH_TREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "image/request.h"

struct tree;

struct tree_xattr {
        const char *name;
        const void *value;
        size_t size;
};

/* One entry of the archive. */
struct tree_entry {
        const char *path;     /* as the archive has it */
        const char *hardlink; /* the target's path; null for everything else. Then nothing below
                                 counts */
        const char *symlink;  /* the target of a symlink */
        mode_t mode;          /* type and permissions */
        uid_t uid;
        gid_t gid;
        dev_t device;
        struct timespec modified;
        const struct tree_xattr *xattrs;
        size_t xattr_count;
};

/*
 * Takes a duplicate of root_fd, a folder of ours that nobody else writes to. notes_left is shared
 * by the layers of an image: the bytes that their notes may still have.
 */
int tree_new(int root_fd, _Atomic int64_t *notes_left, struct tree **tree, struct error *err);
void tree_free(struct tree *tree); /* null is allowed */

/*
 * Calls back before an earlier entry gives way to a later one: a regular file with is_folder false,
 * a whole folder with true. path is resolved: no symlink is in it. name is it in the open parent.
 */
typedef int tree_replaced(void *argument, int parent_fd, const char *name, const char *path,
                          bool is_folder, struct error *err);
void tree_watch_replaced(struct tree *tree, tree_replaced *replaced, void *argument);
/* Where the last entry is: its resolved path, good until the next entry. */
const char *tree_place(const struct tree *tree);

/*
 * Makes the entry. For a regular file *fd is a descriptor to write its contents to, and
 * tree_file_done must follow; for all others it is -1. INVALID_ARGUMENT for what no honest layer
 * has (.. in a path, a forged overlayfs attribute or whiteout), RESOURCE_EXHAUSTED for a bound,
 * else what the kernel said. Errors name the path.
 */
int tree_add(struct tree *tree, const struct tree_entry *entry, int *fd, struct error *err);
/* Owner, mode, attributes and time of the file, after its contents. Closes fd. */
int tree_file_done(struct tree *tree, const struct tree_entry *entry, int fd, struct error *err);

/* Sets the folders' times, which making what is in them has changed. Once, at the end. */
int tree_finish(struct tree *tree, struct error *err);

/* Sets the noted members of layer (opaque, implied, links); they are the tree's, valid until
 * tree_free. */
void tree_notes(struct tree *tree, struct fetch_layer *layer);

static inline void cleanup_tree(struct tree **tree)
{
        tree_free(*tree);
}
#define AUTO_TREE CLEANUP(cleanup_tree)

#endif
