/*
 * policy_private: what the files of the policy share. Nobody else includes it.
 *
 * Errors are INVALID_ARGUMENT and name the place.
 */
#ifndef CRISP_IMAGE_POLICY_PRIVATE_H
#define CRISP_IMAGE_POLICY_PRIVATE_H

#include <jansson.h>

#include "image/policy.h"

/* "PLACE: WHAT". */
int policy_wrong(struct error *err, const char *place, const char *what);

/* Whether object has nothing but what is listed (ended by null), and nothing that is null. */
int policy_allow(const json_t *object, const char *place, const char *const *names,
                 struct error *err);

/* An array of requirements. loaded: keys are in them, in place of files' names. */
int policy_get_requirements(const json_t *array, bool loaded, const char *place,
                            struct arena *arena, struct policy_requirements *requirements,
                            struct error *err);

#endif
