/*
 * hook: which OCI hooks of the node run for a container.
 *
 * A folder's NAME.json say what to run and for which containers, in version 1.0.0 of the format of
 * oci-hooks(5), or in its older version 0.1.0. They are read anew at each use.
 */
#ifndef CRISP_OCI_HOOK_H
#define CRISP_OCI_HOOK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "oci/spec.h"

#define HOOK_FILE_MAX  (256 * 1024) /* bytes of a file */
#define HOOK_FILES_MAX 512          /* in one folder */

/* What a file's conditions look at. */
struct hook_question {
        const char *command; /* the first word of the process */
        const struct spec_pair *annotations;
        size_t annotation_count;
        bool has_bind_mounts; /* the request has mounts */
};

/*
 * Adds the hooks of the folders (null-terminated) whose conditions hold to options, behind those
 * that are there, in the order of the files' names in small letters. A file of a later folder takes
 * the place of one of the same name; a folder that is missing is passed over. In *complaints comes
 * what is wrong with files that were passed over, a line for each, in the arena; null where nothing
 * is. Blocks on the disk.
 */
void hook_select(char *const *folders, const struct hook_question *question, struct arena *arena,
                 struct spec_options *options, const char **complaints);

#endif
