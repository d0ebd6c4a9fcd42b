/*
 * cdi: devices as the Container Device Interface describes them (specification 0.3.0 to 1.1.0).
 *
 * A device has a name, "VENDOR/CLASS=NAME". What it takes to give it to a container, beside the
 * device nodes themselves, stands in a file of its vendor, as edits of the OCI specification.
 */
#ifndef CRISP_OCI_CDI_H
#define CRISP_OCI_CDI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "oci/spec.h"

#define CDI_FILE_MAX  (4 * 1024 * 1024) /* bytes of a file */
#define CDI_FILES_MAX 1024              /* in one folder */
#define CDI_NAME_MAX  512               /* bytes of VENDOR/CLASS=NAME */

/* Whether a text has the form of a device's name. Pure. */
bool cdi_is_name(const char *text);

/*
 * Edits options for these devices, in their order: first what the file of a device says for all of
 * its devices, once for each file, then the device's own. Reads NAME.json and NAME.yaml of the
 * folders (null-terminated), of which later ones go first; a folder that is missing is passed over.
 * What is added to options lives in the arena; options' lists are replaced by longer ones there.
 *
 * FAILED_PRECONDITION for a device that no file has (with those that are known) or that two files
 * of one folder have, and for a device node that the host does not have; UNIMPLEMENTED for edits
 * that no runtime of SPEC_VERSION can be told. In *complaints comes, on success too, what is wrong
 * with files that were passed over, a line for each, in the arena; null where nothing is. Blocks on
 * the disk.
 */
int cdi_inject(char *const *folders, const char *const *names, size_t count, struct arena *arena,
               struct spec_options *options, const char **complaints, struct error *err);

#endif
