/*
 * record: an image as it is written down.
 *
 * JSON with its version. Pure, any thread.
 */
#ifndef CRISP_IMAGE_RECORD_H
#define CRISP_IMAGE_RECORD_H

#include "base/error.h"
#include "image/store.h"

#define RECORD_VERSION   2
#define RECORD_BYTES_MAX (4u << 20)
#define RECORD_NAMES_MAX 4000 /* tags, and digests: that many of the longest fit into the bytes */

/* The record of an image, on the heap. */
char *record_encode(const struct image *image);

/*
 * Reads a record: gives an image whose layers are its own (refs 0), to be exchanged for the
 * store's. expected is the ID that the file's name promises. Everything is checked.
 */
int record_decode(const char *bytes, size_t length, const char *expected, struct image **image,
                  struct error *err);

struct image *image_new(void);
/* Frees the image, not its layers; null is allowed. */
void image_free(struct image *image);

static inline void cleanup_image(struct image **image)
{
        image_free(*image);
}
#define AUTO_IMAGE CLEANUP(cleanup_image)

#endif
