/*
 * validate_private: what the files of validate*.c share. For nobody else.
 *
 * field names what is looked at, as in the request: "config.metadata.name". Errors begin with it.
 */
#ifndef CRISP_CRI_VALIDATE_PRIVATE_H
#define CRISP_CRI_VALIDATE_PRIVATE_H

#include <stdbool.h>

#include "cri/validate.h"

#define VALIDATE_ID_MAX                                                                            \
        INT64_C(4294967294) /* of users and groups: the kernel's (uid_t)-1 is none */

int validate_invalid(struct error *err, const char *field, const char *why);
int validate_unsupported(struct error *err, const char *field, const char *what);
/* A part of a pod's or container's key: present, bounded, without the slash that joins the parts.
 */
int validate_name(const char *value, const char *field, struct error *err);
/* No component may lead upwards. */
bool validate_has_dot_dot(const char *path);
int validate_absolute(const char *path, const char *field, struct error *err);
int validate_selinux(const Runtime__V1__SELinuxOption *options, const char *field,
                     struct error *err);
/* Either form of a seccomp or AppArmor profile. */
int validate_profile(const Runtime__V1__SecurityProfile *profile, const char *text,
                     const char *field, struct error *err);
int validate_security(const Runtime__V1__LinuxContainerSecurityContext *security,
                      struct error *err);
int validate_pod_security(const Runtime__V1__LinuxSandboxSecurityContext *security,
                          struct error *err);
int validate_namespaces(const Runtime__V1__NamespaceOption *options, const char *field,
                        struct error *err);
/* Of config.mounts (validate_mount.c). */
int validate_mount(const Runtime__V1__Mount *mount, struct error *err);

#endif
