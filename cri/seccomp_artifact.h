/*
 * seccomp_artifact: a container's seccomp profile that is an OCI artifact of a registry, as its
 * pod's annotation names it.
 */
#ifndef CRISP_CRI_SECCOMP_ARTIFACT_H
#define CRISP_CRI_SECCOMP_ARTIFACT_H

#include "base/buffer.h"
#include "base/error.h"

struct container;

/* The artifact that the container's pod names and may name, borrowed from it; or null. */
const char *seccomp_artifact_name(const struct container *container);

/*
 * Pulls the artifact, unless it is named by a digest and here, and adds the one file that it has to
 * *profile. FAILED_PRECONDITION for what is no artifact, or has no or several files. Task only:
 * waits.
 */
int seccomp_artifact_fetch(const struct container *container, const char *name,
                           struct buffer *profile, struct error *err);

#endif
