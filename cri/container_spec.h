/*
 * container_spec: what the files of container_spec*.c share: the OCI specification of one container
 * while it is being made from the request, the pod and the image. For nobody else.
 *
 * Each part fills its members of draft->spec. What they point to lives in draft->arena, or as long
 * as the request, the pod and the image do. They read files: on a worker only. On failure
 * draft->err is filled, and the draft is of no use any more.
 */
#ifndef CRISP_CRI_CONTAINER_SPEC_H
#define CRISP_CRI_CONTAINER_SPEC_H

#include "cri/confinement.h"
#include "cri/container.h"
#include "image/config.h"
#include "oci/spec.h"
#include "oci/user.h"

#define CONTAINER_SPEC_NAMESPACES_MAX 7

struct container_spec {
        const struct container *container;
        const Runtime__V1__ContainerConfig *config;
        const Runtime__V1__LinuxContainerSecurityContext *security; /* never null */
        const struct image_config *image;
        const struct pod *pod;
        char *const *volumes; /* for each of the configuration's mounts */
        const struct confinement *confinement;
        json_t *seccomp; /* owned: what spec.seccomp points to; or null */
        struct arena *arena;
        struct spec_options spec;
        /* Annotations of the pod and the container that may have an effect, part of spec's. */
        const struct spec_pair *asked;
        size_t asked_count;
        struct spec_mount *mounts; /* spec.mounts, while it grows */
        size_t mount_room;
        int root_fd;      /* of the container's root, O_PATH: while mounts are made */
        bool init_system; /* what it runs is one (init_system.h) */
        struct spec_namespace namespaces[CONTAINER_SPEC_NAMESPACES_MAX];
        struct error *err;
};

/* Moves a text from the heap into the arena. */
char *container_spec_keep(struct container_spec *draft, char *heap_text);

/* Arguments, environment, limits, umask, user and working folder (container_spec_process.c); user
 * is filled and the caller's. */
int container_spec_process(struct container_spec *draft, const char *hostname, struct user *user);
/*
 * Mounts, whether the root is read-only, and how it spreads. First what every container has
 * (container_spec_mounts.c), then in turn the image's volumes, the node's mounts
 * (container_spec_volumes.c), and the request's (container_spec_binds.c): each takes the place of
 * those before it. The parts are for container_spec_mounts alone.
 */
int container_spec_mounts(struct container_spec *draft);
/* What the node adds to its mounts: the time zone, FIPS mode (container_spec_files.c). */
int container_spec_files(struct container_spec *draft);
/* Annotations of all kinds (container_spec_annotations.c). */
void container_spec_annotations(struct container_spec *draft);
/* The node's OCI hooks, when arguments and annotations are there (container_spec_hooks.c). */
void container_spec_hooks(struct container_spec *draft);
int container_spec_image_volumes(struct container_spec *draft);
int container_spec_default_mounts(struct container_spec *draft);
int container_spec_binds(struct container_spec *draft);
/* Adds one, in the place of that with the same destination. */
void container_spec_add_mount(struct container_spec *draft, const struct spec_mount *mount);
bool container_spec_has_mount(const struct container_spec *draft, const char *destination);
/* Cgroup limits, classes of I/O and cache, the OOM score (container_spec_resources.c). */
int container_spec_resources(struct container_spec *draft);
/* Devices, but for those of CDI (container_spec_devices.c). */
int container_spec_devices(struct container_spec *draft);
/* What a user namespace changes in all other parts, which must be there (container_spec_users.c).
 */
void container_spec_users(struct container_spec *draft);
/* The user that was asked for as the namespace knows him. */
void container_spec_translate(const struct container_spec *draft, struct user *user);
/* What CDI adds to all other parts, which must be there (container_spec_cdi.c). */
int container_spec_cdi(struct container_spec *draft);
/* Capabilities, profiles, and what of the kernel is hidden from it (container_spec_security.c). */
int container_spec_security(struct container_spec *draft);
/* Has volumes relabelled that shall be; its mounts' host paths are there
 * (container_spec_selinux.c). */
int container_spec_relabel(struct container_spec *draft);

#endif
