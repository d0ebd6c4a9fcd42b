/*
 * verify: a container's facts held against its specification.
 *
 * What a process can give up by itself (capabilities, another user than root) is a warning; what it
 * has beyond its specification, and what only the runtime can have made, is a failure.
 */
#ifndef CRISP_OCI_VERIFY_H
#define CRISP_OCI_VERIFY_H

#include "base/json.h"
#include "oci/cgroup.h"

enum verify_verdict { VERIFY_PASS, VERIFY_WARNING, VERIFY_FAIL };

/* what: "namespace net", "memory limit"; text: the exact difference, or of a pass what was found.
 */
typedef void verify_tell(void *argument, enum verify_verdict verdict, const char *what,
                         const char *text);

/* spec: a config.json, with the limits that hold now; facts: of facts_read; layers: as an overlay's
 * lowerdir, or null where they are not known. Pure. */
void verify_container(const json_t *spec, const json_t *facts, const char *layers,
                      enum cgroup_mode mode, verify_tell *tell, void *argument);

#endif
