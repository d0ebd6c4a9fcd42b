/*
 * attributes: owner, mode, extended attributes and time of what a layer brings.
 */
#ifndef CRISP_IMAGE_FETCH_ATTRIBUTES_H
#define CRISP_IMAGE_FETCH_ATTRIBUTES_H

#include "base/error.h"
#include "image/fetch/tree.h"

/*
 * Refuses extended attributes that would speak to overlayfs (INVALID_ARGUMENT), and those out of
 * bounds. Pure.
 */
int attributes_check(const struct tree_entry *entry, struct error *err);

/* Owner, mode and extended attributes of an open file or folder; not its time. */
int attributes_set(int fd, const struct tree_entry *entry, struct error *err);

/* The same, and the time, for anything else, which is not followed where it is a symlink. */
int attributes_set_at(int parent_fd, const char *name, const struct tree_entry *entry,
                      struct error *err);

#endif
