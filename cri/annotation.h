/*
 * annotation: what pods may ask for by annotations beside the CRI.
 *
 * Each such name is off until the node's configuration lets it in: runtime.allowed_annotations for
 * all pods, runtime.handlers.NAME.allowed_annotations for those of one handler. CRI-O's names work
 * in both of their forms, "umask.crio.io" and the older "io.kubernetes.cri-o.umask"; callers of
 * this module, too, may use either. Allowing one form allows both. A name that ends in a dot stands
 * for all that begin with it ("run.oci.").
 *
 * Pure functions over what never changes (the configuration, and requests as they came): any
 * thread. Results are borrowed from the pod's or the container's request.
 */
#ifndef CRISP_CRI_ANNOTATION_H
#define CRISP_CRI_ANNOTATION_H

#include <stdbool.h>
#include <stddef.h>

#include "cri/config.h"

struct pod;
struct container;

/*
 * The value of an annotation that holds for the pod, or for one container of it: null when there is
 * none, or when it is not allowed under the pod's handler. name is a bare one ("shm-size.crio.io").
 * The first that is there counts, the new form of each before the old one:
 *
 *     NAME/CONTAINER of the pod (only with a container), NAME/POD of the pod, NAME of the pod,
 *     NAME of the container itself (only with a container)
 */
const char *annotation_of_pod(const struct pod *pod, const char *name);
const char *annotation_of_container(const struct container *container, const char *name);

/* Whether it is there, allowed, and "true". */
bool annotation_is_true(const char *value);

/*
 * Whether an annotation with this key, as it stands in a request, may have an effect and may be
 * shown to the runtime and to hooks: yes for all that are nobody's switch ("example.com/team"), and
 * for gated ones as configured. handler may be null where the configuration lost it.
 */
bool annotation_may_pass(const struct config *config, const struct config_handler *handler,
                         const char *key);

/* The configuration's handler of a pod; null where the configuration lost it. */
const struct config_handler *annotation_handler(const struct pod *pod);

/* Whether the configuration may list this name: one that annotation_may_pass gates. */
bool annotation_is_known(const char *name);

#endif
