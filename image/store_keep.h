/*
 * store_keep: layers that came whole, of a pull that has not ended or did not end well.
 */
#ifndef CRISP_IMAGE_STORE_KEEP_H
#define CRISP_IMAGE_STORE_KEEP_H

#include "base/error.h"
#include "image/store.h"

#define STORE_KEEP_TIME (600 * NSEC_PER_SEC) /* for a pull to come again */

/*
 * Syncs and takes in the layers that are whole in a staging folder: all of them, or the one with
 * the diff ID only. No image has them; after STORE_KEEP_TIME they are garbage unless one does by
 * then. What the folder says comes from a program that read strangers' bytes and is checked like
 * them. None there is success. Waits; not interruptibly.
 */
int store_keep(struct store *store, const char *staging, const char *only, struct error *err);

#endif
