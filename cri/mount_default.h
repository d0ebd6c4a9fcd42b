/*
 * mount_default: what every container of the node has mounted (containers-mounts.conf(5)), as
 * copies of its own.
 */
#ifndef CRISP_CRI_MOUNT_DEFAULT_H
#define CRISP_CRI_MOUNT_DEFAULT_H

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

#define MOUNT_DEFAULT_MAX      64                 /* in a file */
#define MOUNT_DEFAULT_FILE_MAX (64 * 1024)        /* bytes of it */
#define MOUNT_DEFAULT_ENTRIES  10000              /* files and folders in a copy */
#define MOUNT_DEFAULT_BYTES    (64 * 1024 * 1024) /* of a copy */

struct mount_default {
        char *source;
        char *destination;
};

struct mount_defaults {
        struct mount_default *list;
        size_t count;
};

#define MOUNT_DEFAULTS_INIT                                                                        \
        {                                                                                          \
                0                                                                                  \
        }

/*
 * The lines of a file, whose name is for errors: SOURCE:DESTINATION, or SOURCE for both; whatever
 * does not begin with a slash is passed over, as others do. INVALID_ARGUMENT "NAME:LINE: ..." for a
 * destination that is not absolute or has "..". Pure.
 */
int mount_defaults_parse(const char *text, const char *name, struct mount_defaults *defaults,
                         struct error *err);

/* The file of this path, which must be there; "" for the first that is of the usual two, if any.
 * Blocks on the disk. */
int mount_defaults_read(const char *path, struct mount_defaults *defaults, struct error *err);
void mount_defaults_fini(struct mount_defaults *defaults);
#define AUTO_MOUNT_DEFAULTS CLEANUP(mount_defaults_fini)

/* Copies the source to target, symlinks followed. 0 where there is no such source, 1 once it is
 * there. Blocks on the disk. */
int mount_default_copy(const struct mount_default *mount, const char *target, struct error *err);

#endif
