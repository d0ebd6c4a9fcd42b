/*
 * confinement: what keeps a container in beside its namespaces: which seccomp, AppArmor and SELinux
 * profiles it runs under, as the request, its pod and the configuration say.
 */
#ifndef CRISP_CRI_CONFINEMENT_H
#define CRISP_CRI_CONFINEMENT_H

#include "api/cri/runtime_v1.pb-c.h"
#include "base/buffer.h"
#include "base/json.h"
#include "oci/selinux.h"

struct container;
struct pod;

/* A profile of the request, in its own message or in the deprecated text. */
enum confinement_kind {
        CONFINEMENT_UNSET,
        CONFINEMENT_UNCONFINED,
        CONFINEMENT_DEFAULT,
        CONFINEMENT_LOCALHOST,
};

struct confinement_choice {
        enum confinement_kind kind;
        const char *name; /* of CONFINEMENT_LOCALHOST, never empty; borrowed from the request */
};

/*
 * What the request says: the message where there is one, else the text ("runtime/default",
 * "docker/default", "unconfined", "localhost/NAME", ""). INVALID_ARGUMENT, with field before it,
 * for what is none of these. Any thread.
 */
int confinement_choice(const Runtime__V1__SecurityProfile *profile, const char *text,
                       const char *field, struct confinement_choice *choice, struct error *err);

/* What is found out before the specification is written. Strings are owned. */
struct confinement {
        char *apparmor_profile;       /* null: none is set */
        const char *seccomp_artifact; /* where seccomp_profile is from, the pod's; null: nowhere */
        struct buffer seccomp_profile;
        struct selinux_labels labels; /* null members: none */
};
void confinement_fini(struct confinement *confinement);
#define AUTO_CONFINEMENT CLEANUP(confinement_fini)

/* Chooses a container's, has AppArmor's default profile loaded, and fetches a seccomp profile that
 * is an artifact. Task only: waits. */
int confinement_prepare(const struct container *container, struct confinement *confinement,
                        struct error *err);

/*
 * Chooses the labels of a pod that comes up, at a level that no other pod of ours has: null where
 * it has none (struct pod's selinux_label). Loop's thread; does not wait.
 */
int confinement_label_pod(struct pod *pod, struct error *err);

/*
 * linux.seccomp for a container with these capabilities; null is unconfined. A new reference.
 * Blocks on the disk: on a worker only.
 */
int confinement_seccomp(const struct container *container, const struct confinement *confinement,
                        const char *const *capabilities, json_t **seccomp, struct error *err);
/* The profile that the request, or the configuration of privileged containers, means. */
int confinement_seccomp_choice(const struct container *container, struct confinement_choice *choice,
                               struct error *err);
/* Whether the pod's own profile can be used, though no process of ours runs under it. Blocks on the
 * disk. */
int confinement_check_pod(const struct pod *pod, struct error *err);

#endif
