/*
 * notes: what a layer cannot do or know alone, for those who see the whole image.
 *
 * Their bytes are bounded for an image, not for a layer. One thread for each object.
 */
#ifndef CRISP_IMAGE_FETCH_NOTES_H
#define CRISP_IMAGE_FETCH_NOTES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/table.h"
#include "image/request.h"

struct notes {
        _Atomic int64_t *left; /* bytes that the image's notes may still have */
        struct table *opaque;  /* the keys are the paths */
        struct table *implied;
        struct fetch_link *links; /* with strings of their own */
        size_t link_count, link_capacity;
        const char **opaque_list,
                **implied_list; /* made by notes_finish; borrowed from the tables */
        size_t opaque_count, implied_count;
};

/* The root is implied from the start. */
void notes_init(struct notes *notes, _Atomic int64_t *left);
void notes_fini(struct notes *notes);

/* RESOURCE_EXHAUSTED past the bound. The same note twice is one. */
int notes_opaque(struct notes *notes, const char *path, struct error *err);
int notes_implied(struct notes *notes, const char *path, struct error *err);
int notes_link(struct notes *notes, const char *path, const char *target, struct error *err);
/* The folder has an entry after all. */
void notes_explicit(struct notes *notes, const char *path);

/* Makes the lists, in order and without what is no folder below root_fd any more: a later entry may
 * have replaced it. */
void notes_finish(struct notes *notes, int root_fd);

#endif
