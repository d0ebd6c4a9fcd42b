/*
 * pod_users: a pod's user namespace: who its users are on the host.
 *
 * CRI's userns_options say it, or an annotation (users_mode.h), or the node's configuration for
 * all. Chosen once, when the pod is made, and kept in its record; the ranges that an annotation got
 * are the pod's until it is removed. Without one its users are the host's.
 */
#ifndef CRISP_CRI_POD_USERS_H
#define CRISP_CRI_POD_USERS_H

#include <stdbool.h>

#include "api/cri/runtime_v1.pb-c.h"
#include "base/json.h"
#include "cri/users_mode.h"
#include "image/rootfs.h"

struct pod;
struct runtime_handler;

struct pod_users {
        struct users_maps uids, gids; /* neither is empty */
        uint32_t root_uid, root_gid;  /* the host's, of the container's 0 */
        /* Users and groups that requests name are the host's, where they are mapped: so are those
         * of annotations. */
        bool host_ids;
};

/*
 * Fills pod->users, or leaves it null. FAILED_PRECONDITION, before anything is made, where kernel,
 * file system or runtime handler cannot; RESOURCE_EXHAUSTED where no IDs are left. Task; waits. The
 * pod is in the tables already, so that two never choose the same.
 */
int pod_users_choose(struct pod *pod, struct error *err);
void pod_users_free(struct pod_users *users); /* null is allowed */

/* Its part of the pod's record. Records of before have none. */
void pod_users_put(const struct pod *pod, json_t *record);
int pod_users_restore(struct pod *pod, const json_t *record, struct error *err);

/* Whether a container's options fit the pod's: the kubelet says them again for each. */
int pod_users_check_container(const struct pod *pod, const Runtime__V1__NamespaceOption *options,
                              struct error *err);

/* Gives a file of ours that its containers see to their root. Blocks. */
int pod_users_own(const struct pod *pod, const char *path, struct error *err);

/*
 * Gives a copy of ours of a host's tree, which nobody else can get at, to those users of the pod
 * that have the numbers of its owners. Blocks.
 */
int pod_users_own_tree(const struct pod *pod, const char *path, struct error *err);

/* The same for the container's users with these IDs; what is not mapped stays the host's root's. */
void pod_users_to_host(const struct pod *pod, uint32_t *uid, uint32_t *gid);

/* Has a root file system mounted with the pod's owners; pin is the namespace's, borrowed. */
void pod_users_map_rootfs(const struct pod *pod, const char *pin, struct rootfs *rootfs);

/* ---- the node's part (users_probe.c) ---- */

/* Finds out once whether kernel and image store can. Task; waits. */
void users_probe(void);

/* FAILED_PRECONDITION saying why not, also of a handler that cannot. Task; waits for
 * users_probe. */
int users_require(const struct runtime_handler *handler, struct error *err);
/* Waits until users_probe has found out, or until the deadline (monotonic ns). Task. */
void users_hear(int64_t deadline);
/* Whether they can, as far as it is known by now. */
bool users_possible(void);

#endif
