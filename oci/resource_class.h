/*
 * resource_class: named classes of block I/O and of cache, which the node's operator writes down in
 * goresctrl's YAML forms and containers are put into.
 *
 * The files are the operator's. Functions read them each time, so what is changed there holds for
 * the next container; they block on the disk.
 */
#ifndef CRISP_OCI_RESOURCE_CLASS_H
#define CRISP_OCI_RESOURCE_CLASS_H

#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "oci/spec.h"

#define RESOURCE_CLASS_FILE_MAX    (1024 * 1024) /* bytes */
#define RESOURCE_CLASS_DEVICES_MAX 1024          /* of a class */

/*
 * The limits of a class of block I/O, in the arena. Devices are given as patterns of paths, whose
 * symbolic links are followed; what is no block device, a partition or missing is passed over, as
 * goresctrl does. blocks: "/sys/dev/block", or another for tests. NOT_FOUND for a class that the
 * file does not have; INVALID_ARGUMENT for what is wrong in it, naming the file and the class.
 */
int resource_class_block_io(const char *file, const char *class, const char *blocks,
                            struct arena *arena, const struct spec_block_io **limits,
                            struct error *err);
#define RESOURCE_CLASS_BLOCKS "/sys/dev/block"

/* The same for text in memory. Looks at devices. */
int resource_class_parse_block_io(const char *text, size_t length, const char *place,
                                  const char *class, const char *blocks, struct arena *arena,
                                  const struct spec_block_io **limits, struct error *err);

/* Who names a class. */
enum resource_class_origin { RESOURCE_CLASS_OF_CONTAINER, RESOURCE_CLASS_OF_POD };

/*
 * Whether a class of cache and memory bandwidth (RDT) is there for one who names it so: it is in
 * the file, which does not deny it, and root, where resctrl is mounted, has its group. NOT_FOUND,
 * PERMISSION_DENIED or FAILED_PRECONDITION else.
 */
int resource_class_check_rdt(const char *file, const char *class, enum resource_class_origin origin,
                             const char *root, struct error *err);

/* A quantity as Kubernetes writes them, "50M" or "1.5Ki", rounded up. INVALID_ARGUMENT. Pure. */
int resource_class_quantity(const char *text, uint64_t *value, struct error *err);

#endif
