/*
 * resources: what a container or pod may use, as CRI says it: checked, merged, translated.
 *
 * Pure, any thread. In CRI's message zero and empty mean "not said", and -1 lifts a limit.
 */
#ifndef CRISP_CRI_RESOURCES_H
#define CRISP_CRI_RESOURCES_H

#include <jansson.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/arena.h"
#include "base/error.h"
#include "oci/spec.h"

typedef Runtime__V1__LinuxContainerResources resources_message;

/* What can be seen to be wrong without a machine: INVALID_ARGUMENT "FIELD.cpu_period: ...". */
int resources_validate(const resources_message *resources, const char *field, struct error *err);

/* A copy in the arena; an empty message for null. */
resources_message *resources_copy(struct arena *arena, const resources_message *resources);

/*
 * A copy in the arena of base with all that change says in the place of what base said. hugepages
 * are replaced by size, unified by key. Where the memory limit changes and change says nothing of
 * swap, as much swap stays allowed beside it as before. base may be null.
 */
resources_message *resources_merge(struct arena *arena, const resources_message *base,
                                   const resources_message *change);

/* Adds key = value to unified, or replaces it. Both live in the arena. */
void resources_set_unified(struct arena *arena, resources_message *resources, const char *key,
                           const char *value);

/* As the runtime wants them. What *spec points to is the message's or the arena's. */
void resources_to_spec(struct arena *arena, const resources_message *resources,
                       struct spec_resources *spec);

/* The message as JSON with the protocol's names, zeroes left out: what CRI-O's annotations hold. A
 * new reference. */
json_t *resources_json(const resources_message *resources);

/* ---- in records: base64 of the packed message, so that what a later protocol adds survives ----
 */

void resources_put(json_t *record, const char *key, const resources_message *resources);
/* *resources is in the arena; null where the record says nothing. DATA_LOSS for what is none. */
int resources_get(const json_t *record, const char *key, struct arena *arena,
                  resources_message **resources, struct error *err);

#endif
