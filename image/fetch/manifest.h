/*
 * manifest: what registries say an image is made of.
 *
 * OCI image index and manifest, Docker manifest list and schema 2, and the image's configuration.
 * Pure functions; what they give lives in the arena.
 */
#ifndef CRISP_IMAGE_FETCH_MANIFEST_H
#define CRISP_IMAGE_FETCH_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "image/fetch/platform.h"

/* For the Accept header. */
#define MANIFEST_ACCEPT                                                                            \
        "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "    \
        "application/vnd.docker.distribution.manifest.list.v2+json, "                              \
        "application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1"

struct annotation {
        const char *name;
        const char *value;
};

struct descriptor {
        const char *media_type; /* or empty */
        const char *digest;     /* valid */
        int64_t size;
        const char *const *urls; /* where else it may be; of a layer that registries may not have */
        size_t url_count;
        struct platform platform; /* in an index; os is empty where it is not said */
        const struct annotation *annotations;
        size_t annotation_count;
};

struct manifest {
        bool is_index;
        const char *media_type;
        struct descriptor config;         /* of a manifest */
        const struct descriptor *entries; /* layers, the lowest first; or an index's manifests */
        size_t count;
};

struct manifest_config {
        struct platform platform;
        const char *const *diff_ids; /* valid; one for each layer */
        size_t count;
};

/*
 * content_type is what the server said, or empty: it decides only where the document does not say
 * what it is. INVALID_ARGUMENT for what is none of them or two at once, FAILED_PRECONDITION for
 * schema 1, which is not supported.
 */
int manifest_parse(const char *bytes, size_t length, const char *content_type, struct arena *arena,
                   struct manifest *manifest, struct error *err);

/* The value of a descriptor's annotation, or null. */
const char *descriptor_annotation(const struct descriptor *descriptor, const char *name);

/* The index's entry that fits the platform best. NOT_FOUND names those that there are. */
int manifest_select(const struct manifest *index, const struct platform *platform,
                    const struct descriptor **entry, struct error *err);

/* INVALID_ARGUMENT for what is not the configuration of a container image, such as an artifact's.
 */
int manifest_config_parse(const char *bytes, size_t length, struct arena *arena,
                          struct manifest_config *config, struct error *err);

#endif
