/*
 * lookaside: where the signatures of an image are, as containers-registries.d(5) says it.
 *
 * All files DIR/NAME.yaml are one configuration, in which each registry or repository may stand
 * once; the most specific one that fits an image's name counts alone.
 */
#ifndef CRISP_IMAGE_LOOKASIDE_H
#define CRISP_IMAGE_LOOKASIDE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "image/reference.h"

#define LOOKASIDE_FILES_MAX      256
#define LOOKASIDE_FILE_BYTES_MAX (256u << 10)
#define LOOKASIDE_SECTIONS_MAX   4096

/* For root, where the configuration says nothing at all. */
#define LOOKASIDE_DEFAULT "file:///var/lib/containers/sigstore"

struct lookaside {
        const char *url;  /* the repository's part of it: BASE/REPOSITORY, or null */
        bool attachments; /* sigstore's are looked for beside the image */
};

/*
 * Reads the folder and finds what counts for reference. A folder that is not there is empty. What
 * is given lives in the arena. Blocks on the disk. INVALID_ARGUMENT with file and key.
 */
int lookaside_find(const char *directory, const struct reference *reference, struct arena *arena,
                   struct lookaside *lookaside, struct error *err);

#endif
