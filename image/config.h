/*
 * config: an image's configuration, as the OCI image specification and Docker spell it.
 *
 * Parsing is pure, blocks on nothing and may run on any thread.
 */
#ifndef CRISP_IMAGE_CONFIG_H
#define CRISP_IMAGE_CONFIG_H

#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

#define IMAGE_CONFIG_BYTES_MAX   (8u << 20) /* of the whole document */
#define IMAGE_CONFIG_STRINGS_MAX 8192       /* in each list: arguments, variables, labels ... */
#define IMAGE_CONFIG_LAYERS_MAX  500

struct image_label {
        char *name;
        char *value;
};

struct image_config {
        /* Vectors end in null, and are null themselves where the image says nothing. */
        char **entrypoint;
        char **cmd;
        char **environment; /* "NAME=value" */
        char *user; /* "name", "uid", "name:group", "uid:gid"; "" where not given. So are the next
                     */
        char *working_directory;
        char *stop_signal;    /* as written: "SIGTERM", "TERM", "15" */
        char **volumes;       /* paths in the container */
        char **exposed_ports; /* "80/tcp" */
        struct image_label *labels;
        size_t label_count;
        char **diff_ids; /* of the layers, the lowest first */
        char *os;
        char *architecture;
        char *variant;
        char *created; /* RFC 3339, as written */
};

/* INVALID_ARGUMENT with place and the member that is wrong. */
int image_config_parse(const char *bytes, size_t length, const char *place,
                       struct image_config **config, struct error *err);
void image_config_free(struct image_config *config); /* null is allowed */

static inline void cleanup_image_config(struct image_config **config)
{
        image_config_free(*config);
}
#define AUTO_IMAGE_CONFIG CLEANUP(cleanup_image_config)

#endif
