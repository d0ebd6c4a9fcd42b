/*
 * registries_private: what the files of registries share. Nobody else includes this.
 */
#ifndef CRISP_IMAGE_REGISTRIES_PRIVATE_H
#define CRISP_IMAGE_REGISTRIES_PRIVATE_H

#include <stdatomic.h>

#include "base/table.h"
#include "image/registries.h"

enum mirror_use { MIRROR_ALL, MIRROR_DIGEST_ONLY, MIRROR_TAG_ONLY };

struct registries_place {
        char *location; /* host[:port][/path]; null: as the name says */
        bool insecure;
        enum mirror_use use;
        bool use_said;
};

struct registries_entry {
        char *prefix; /* host[:port][/path][:tag|@digest], or "*." and the end of a host[/path] */
        char *file;   /* where it stands */
        unsigned line;
        bool blocked;
        bool mirror_by_digest_only;
        struct registries_place primary;
        struct registries_place *mirrors;
        size_t mirror_count;
};

enum short_name_mode { MODE_PERMISSIVE, MODE_ENFORCING, MODE_DISABLED };

struct registries {
        atomic_uint references;
        struct registries_entry *entries;
        size_t entry_count;
        char **search; /* null: no file has the key */
        char *search_file;
        enum short_name_mode mode;
        struct table *aliases; /* from short name to full name (heap) */
        char **helpers;
};

void registries_entry_fini(struct registries_entry *entry);

#endif
