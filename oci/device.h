/*
 * device: which device nodes a container gets: texts that name them, folders of them, the host's.
 */
#ifndef CRISP_OCI_DEVICE_H
#define CRISP_OCI_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "oci/spec.h"

#define DEVICE_COUNT_MAX 4096 /* of one container */
#define DEVICE_DEPTH_MAX 16   /* folders inside each other that are gone through */

/* "SOURCE[:DESTINATION][:ACCESS]" */
struct device_text {
        char *source, *destination, *access;
};

/* Whether a text is of r, w and m, each at most once, and not empty. */
bool device_is_access(const char *text);

/*
 * Takes a text apart; what it leaves out becomes DESTINATION = SOURCE and ACCESS = "rwm". The
 * results are in the arena. INVALID_ARGUMENT when it has another form, when SOURCE is not absolute,
 * or when DESTINATION is not below /dev. Pure; any thread.
 */
int device_parse(struct arena *arena, const char *text, struct device_text *device,
                 struct error *err);

/* A growing list; set arena (borrowed), zeroes for the rest. */
struct device_list {
        struct arena *arena;
        struct spec_device *devices;
        size_t count, room;
};

/* Adds a copy, in the place of an earlier one with the same path. RESOURCE_EXHAUSTED past
 * DEVICE_COUNT_MAX. What it points to must live as long as the list. */
int device_list_add(struct device_list *list, const struct spec_device *device, struct error *err);

/* Ids to use in place of the host's; -1 leaves one. */
struct device_owner {
        int64_t uid, gid;
};

/*
 * Adds the node at host_path on the host, or all nodes of the folder there and of its folders, as
 * `path` or below it. Symlinks on the way to host_path are followed, those in a folder passed over.
 * owner, where it is not null, is whose the nodes shall be. NOT_FOUND where there is nothing,
 * FAILED_PRECONDITION where it is neither or the folder has no devices. Blocks on the disk.
 */
int device_list_add_path(struct device_list *list, const char *host_path, const char *path,
                         const char *access, const struct device_owner *owner, struct error *err);

/*
 * Adds what is in the host's /dev: all but what each container has of its own (/dev/pts, /dev/shm,
 * /dev/mqueue, /dev/ptmx, /dev/console). Blocks on the disk.
 */
int device_list_add_host(struct device_list *list, struct error *err);

#endif
