/*
 * validate: whether a request makes sense, and whether crisp can do all it asks for.
 *
 * What is not supported and would change security or behaviour is refused in words, never passed
 * over. Pure; any thread.
 */
#ifndef CRISP_CRI_VALIDATE_H
#define CRISP_CRI_VALIDATE_H

#include "api/cri/runtime_v1.pb-c.h"
#include "base/error.h"

#define VALIDATE_NAME_MAX 1024 /* bytes of a name, namespace or uid */
#define VALIDATE_LIST_MAX 8192 /* entries in any list of a request */

/* INVALID_ARGUMENT naming the field; UNIMPLEMENTED for what is not supported. */
int validate_pod(const Runtime__V1__RunPodSandboxRequest *request, struct error *err);
int validate_container(const Runtime__V1__CreateContainerRequest *request, struct error *err);

#endif
