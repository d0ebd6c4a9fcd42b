/*
 * explain: the step that each object is in, and since when, for crisp.v1.
 *
 * From memory, without waiting. Loop's thread only; all of the results live in the arena.
 */
#ifndef CRISP_CRI_EXPLAIN_H
#define CRISP_CRI_EXPLAIN_H

#include "api/crisp/v1/crisp.pb-c.h"
#include "base/arena.h"
#include "base/error.h"
#include "image/store.h"

/*
 * What is known of the object of this name (see ExplainRequest); of everything for "". Pods come
 * in the order of their creation, containers by pod and name. NOT_FOUND, or INVALID_ARGUMENT for a
 * prefix that several have.
 */
int explain_object(struct arena *arena, const char *object, Crisp__V1__ExplainResponse *response,
                   struct error *err);

/* The pulls under way, of this image alone unless reference is "". count may not be null. */
Crisp__V1__Pull **explain_pulls(struct arena *arena, const char *reference, size_t *count);

/* One image in short. */
Crisp__V1__ImageSummary *explain_image(struct arena *arena, const struct image *image);

#endif
