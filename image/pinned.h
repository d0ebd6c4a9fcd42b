/*
 * pinned: images that are not to be collected.
 *
 * A pattern without * is a name: a tag ("busybox" is docker.io/library/busybox:latest), a repo
 * digest or an ID. With * in it, which stands for any characters, slashes too, it is compared with
 * each name in full. Pure; loop's thread.
 */
#ifndef CRISP_IMAGE_PINNED_H
#define CRISP_IMAGE_PINNED_H

#include <stdbool.h>

#include "image/store.h"

/* Whether one of the patterns (a strv; null: none) has the image. */
bool pinned_has(char *const *patterns, const struct image *image);

#endif
