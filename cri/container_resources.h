/*
 * container_resources: what a container may use, in effect: from its creation on, and as it is
 * changed while it runs.
 */
#ifndef CRISP_CRI_CONTAINER_RESOURCES_H
#define CRISP_CRI_CONTAINER_RESOURCES_H

#include "cri/container.h"
#include "cri/resources.h"

/*
 * Fills container->resources from its request, its pod's annotations, the configuration and what
 * the machine has. INVALID_ARGUMENT, naming the field, for what cannot be. On the loop's thread;
 * does not wait.
 */
int container_resources_choose(struct container *container, struct error *err);

/* What of a message this machine cannot do: INVALID_ARGUMENT or FAILED_PRECONDITION naming FIELD.
 */
int container_resources_check(const resources_message *resources, const char *field,
                              struct error *err);

/* Leaves out of a message what this machine has no means for and nobody misses, and says what
 * follows from it. */
void container_resources_settle(resources_message *resources);

/* As the runtime is to get them. What *spec points to is the container's or the arena's. Any
 * thread. */
void container_resources_spec(const struct container *container, const resources_message *resources,
                              struct arena *arena, struct spec_resources *spec);

/* Takes over what is in effect; the arena, which owns it, is the container's from now on. */
void container_resources_set(struct container *container, struct arena *arena,
                             resources_message *resources);

#endif
