/*
 * image_volume: mounts of images in a container (CRI's Mount.image).
 *
 * Each lies read-only below the container's run folder, and from there it, or a folder or file of
 * it, is bound to where the container wants it. Its image stays as long as the container does.
 * Failures have the word ImageVolumeMountFailed. Loop's thread, unless it says otherwise.
 */
#ifndef CRISP_CRI_IMAGE_VOLUME_H
#define CRISP_CRI_IMAGE_VOLUME_H

#include <stdbool.h>

#include "cri/container.h"

bool image_volume_is(const Runtime__V1__Mount *mount);

/* Finds the images of the container's mounts, which must be here, and keeps them. Does not wait. */
int image_volumes_take(struct container *container, struct error *err);
/* Keeps those that its record names; what is gone is logged. */
void image_volumes_keep(struct container *container);
void image_volumes_release(struct container *container);

/* Whether the node's policy lets the container have each of them. Waits. */
int image_volumes_check_trust(struct container *container, struct error *err);

/*
 * Mounts all of them. *sources has for each of the configuration's mounts what is to be bound, ""
 * where it is no image's; the caller gives it back with strv_free. Waits.
 */
int image_volumes_mount(struct container *container, char ***sources, struct error *err);

/* Takes the mounts away; not mounted is fine. Any thread; blocks. */
int image_volumes_unmount(const struct container *container, struct error *err);

/* The configuration's mounts as clients see them: images by their IDs, by which they are known
 * everywhere else. In arena. */
Runtime__V1__Mount **image_volumes_status(const struct container *container, struct arena *arena);

#endif
