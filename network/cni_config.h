/*
 * cni_config: the networks that files in a folder describe.
 *
 * A *.conflist file describes a network as a chain of plugins; a *.conf or *.json file is a chain
 * of one. The default network is the one that is asked for by name, else the first valid one in the
 * order of file names. A broken file is told of and does not stand in the way.
 *
 * cni_config_load blocks on the disk: from a task through task_offload. The other functions work in
 * memory, on any thread. A loaded configuration does not change any more; the reference count
 * belongs to the loop's thread.
 */
#ifndef CRISP_NETWORK_CNI_CONFIG_H
#define CRISP_NETWORK_CNI_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

#define CNI_CONFIG_FILE_MAX     (1024 * 1024) /* bytes of one file */
#define CNI_CONFIG_FILES_MAX    256           /* files looked at in a folder */
#define CNI_CONFIG_NETWORKS_MAX 16            /* networks of one pod */
#define CNI_CONFIG_PLUGINS_MAX  64            /* plugins of one network */
#define CNI_CONFIG_NAME_MAX                                                                        \
        128 /* bytes of a network's name or a plugin's type: they become file names */

/* The versions of the specification that we speak, oldest first. */
enum cni_version {
        CNI_0_1_0,
        CNI_0_2_0,
        CNI_0_3_0,
        CNI_0_3_1,
        CNI_0_4_0, /* brings CHECK, and prevResult for DEL */
        CNI_1_0_0,
        CNI_1_1_0, /* brings STATUS and GC */
};

/* "0.4.0" to its number; an empty or null text is 0.1.0. -EINVAL for what we do not speak. */
int cni_version_parse(const char *text, enum cni_version *version);
const char *cni_version_name(enum cni_version version);

struct cni_plugin {
        const char *type;   /* the program's name in a plugin folder; no slash */
        const json_t *json; /* its configuration as it stands in the file */
};

/* One network. Strings and plugins are borrowed from json. */
struct cni_network {
        unsigned references;
        char *file; /* path, for people; null where it comes from a cache */
        const char *name;
        enum cni_version version;
        bool disable_check;
        bool disable_gc;
        struct cni_plugin *plugins;
        size_t plugin_count;
        json_t *json; /* the whole chain: a .conf file is wrapped into one */
};

/*
 * Parses the text of a file. single says that it is one plugin (.conf) and not a chain; a file that
 * has "plugins" is a chain whatever its name. place is a word for errors. INVALID_ARGUMENT with the
 * reason. *network has one reference.
 */
int cni_network_parse(const char *bytes, size_t length, bool single, const char *place,
                      struct cni_network **network, struct error *err);
struct cni_network *cni_network_ref(struct cni_network *network);
void cni_network_unref(struct cni_network *network); /* null is allowed */

/* Whether one of the plugins declares this capability ("portMappings"). */
bool cni_network_has_capability(const struct cni_network *network, const char *capability);
bool cni_plugin_has_capability(const struct cni_plugin *plugin, const char *capability);

/* A file that is not used, and why. */
struct cni_problem {
        char *file;
        char *reason;
};

/* Which of a folder's networks are wanted. */
struct cni_choice {
        const char *name; /* of the default one; null or empty is the first */
        size_t most;      /* networks in all; 0 is CNI_CONFIG_NETWORKS_MAX */
};

struct cni_config {
        struct cni_network
                *network; /* the default one, with a reference; null when there is none */
        struct cni_network **others; /* those that pods get beside it, with references */
        size_t other_count;
        struct cni_problem *problems;
        size_t problem_count;
};

/*
 * Reads the folder; a null choice is the first network alone. A folder that does not exist has no
 * networks. Fails only where the folder itself cannot be read. config is filled and the caller's to
 * fini.
 */
int cni_config_load(const char *directory, const struct cni_choice *choice,
                    struct cni_config *config, struct error *err);
void cni_config_fini(struct cni_config *config);

static inline void cleanup_cni_network(struct cni_network **network)
{
        cni_network_unref(*network);
}
#define AUTO_CNI_NETWORK CLEANUP(cleanup_cni_network)
#define AUTO_CNI_CONFIG  CLEANUP(cni_config_fini)

#endif
