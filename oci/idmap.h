/*
 * idmap: mounts whose files have other owners than on disk (idmapped mounts, Linux 5.12).
 *
 * Made here and not by the OCI runtime, so that they are there with every runtime: the runtime
 * binds what we have mounted. Where kernel or file system cannot, that is said in words; owners on
 * disk are never changed. Any thread but the loop's; they block.
 */
#ifndef CRISP_OCI_IDMAP_H
#define CRISP_OCI_IDMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "oci/spec.h"

#define IDMAP_RANGES_MAX 340 /* that the kernel takes for one map */

struct idmap {
        /* A file of container_id on disk belongs to host_id in the mount. At least one of each. */
        const struct spec_id_map *uid_maps;
        size_t uid_map_count;
        const struct spec_id_map *gid_maps;
        size_t gid_map_count;
};

/* Whether the kernel knows idmapped and recursively read-only mounts: mount_setattr(2). */
bool idmap_kernel_can(void);

/*
 * A user namespace with these maps, which nobody is in, as a descriptor for the caller to close.
 * program is started in it and ends at once: one that does nothing, called with --version.
 * FAILED_PRECONDITION where the kernel makes no user namespaces.
 */
int idmap_namespace(const char *program, const struct idmap *map, struct error *err);

/*
 * Mounts what source_fd (O_PATH will do) stands for at target, an existing file or folder as the
 * source is, with the owners that namespace_fd maps to. What is mounted below the source comes
 * along, with its owners unmapped. With follow mounts that come below the source later, and go, do
 * so here; nothing ever spreads to the source, so that unmounting this one leaves what is below the
 * source alone. FAILED_PRECONDITION where kernel or file system cannot. The caller unmounts it.
 */
int idmap_mount(int source_fd, int namespace_fd, bool follow, const char *target,
                struct error *err);

/*
 * Whether the kernel takes these as the map of a user namespace in which somebody can be root:
 * INVALID_ARGUMENT for too many, empty and overlapping ranges, those past the last ID, and where
 * the container's ID 0 is missing. Pure, as all below.
 */
int idmap_check(const struct spec_id_map *maps, size_t count, struct error *err);

/* Where an ID is on the other side; false where it is not mapped. */
bool idmap_to_host(const struct spec_id_map *maps, size_t count, uint32_t id, uint32_t *host);
bool idmap_to_container(const struct spec_id_map *maps, size_t count, uint32_t host, uint32_t *id);

/* As /proc/PID/uid_map takes it, on the heap. */
char *idmap_text(const struct spec_id_map *maps, size_t count);

/* "CONTAINER:HOST:LENGTH,..." as a list on the heap, not checked further. INVALID_ARGUMENT for
 * other text. */
int idmap_parse(const char *text, struct spec_id_map **maps, size_t *count, struct error *err);

#endif
