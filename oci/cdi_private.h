/*
 * cdi_private: what the files of oci/cdi*.c share. For nobody else, but for the fuzz target.
 */
#ifndef CRISP_OCI_CDI_PRIVATE_H
#define CRISP_OCI_CDI_PRIVATE_H

#include <stdint.h>

#include "base/json.h"
#include "oci/cdi.h"

struct cdi_node {
        const char *path, *host_path; /* host_path is path where it is not given */
        char type;                    /* 'b', 'c' or 'p'; 0 is for the host to say */
        int64_t device_major, device_minor;
        bool has_mode;
        mode_t mode;
        const char *access; /* never null */
        int64_t uid, gid;   /* -1 is the process's */
};

struct cdi_edits {
        char **env;
        size_t env_count;
        struct cdi_node *nodes;
        size_t node_count;
        struct spec_mount *mounts;
        size_t mount_count;
        struct spec_hook *hooks;
        size_t hook_count;
        uint32_t *gids;
        size_t gid_count;
        struct spec_rdt *rdt;    /* or null */
        const char *unsupported; /* what of it SPEC_VERSION has no words for; or null */
};

struct cdi_device {
        const char *name; /* without the kind */
        struct cdi_edits edits;
};

/* One file. All of it is in the arena that it was parsed into. */
struct cdi_file {
        const char *path;
        const char *kind; /* "VENDOR/CLASS" */
        struct cdi_edits edits;
        struct cdi_device *devices; /* at least one; no two of a name */
        size_t device_count;
};

/*
 * Reads a document: strictly, so that a member that is not known is an error, as is one that the
 * document's own version does not have. INVALID_ARGUMENT "PATH: ...". Pure; any thread.
 */
int cdi_parse(const json_t *document, const char *path, struct arena *arena, struct cdi_file *file,
              struct error *err);

/* Whether "VENDOR/CLASS" and NAME have the characters that they may have. */
bool cdi_is_kind(const char *text, size_t length);
bool cdi_is_device(const char *text);

/* Makes the edits in options. As cdi_inject. */
int cdi_apply(const struct cdi_edits *edits, struct arena *arena, struct spec_options *options,
              struct error *err);

#endif
