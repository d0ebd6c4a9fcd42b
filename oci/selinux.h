/*
 * selinux: labels of processes and files, by hand: the kernel's file system and extended attributes
 * are all it takes.
 *
 * root is put before each path ("" is the machine itself). A label is USER:ROLE:TYPE:LEVEL. Any
 * thread unless said; labels that are given back are on the heap.
 */
#ifndef CRISP_OCI_SELINUX_H
#define CRISP_OCI_SELINUX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define SELINUX_LABEL_MAX  4096 /* bytes of a label */
#define SELINUX_LEVEL_MAX  64   /* bytes of a level that selinux_level_new makes */
#define SELINUX_CATEGORIES 1024 /* c0 to c1023, of which each pod gets two */
#define SELINUX_SUPER_TYPE                                                                         \
        "spc_t" /* the type of containers that are not kept from the host's files */

struct selinux; /* the policy's labels for containers; never changes */

/* Null where the kernel has no SELinux or the policy is none (then nothing has labels). Blocks on
 * the disk. */
struct selinux *selinux_open(const char *root);
void selinux_free(struct selinux *selinux); /* null is allowed */

/* What a pod or container asks for; null or empty leaves a part as it is. */
struct selinux_options {
        const char *user, *role, *type, *level;
};

struct selinux_labels {
        char *process;
        char *mount; /* of its files: the policy's type for them, at the process' level */
};

/*
 * The labels of a process: base (a pod's; null for the policy's own), with what the options say in
 * its place. level is for a base of null. A label that the policy does not know is
 * INVALID_ARGUMENT.
 */
int selinux_labels(const struct selinux *selinux, const char *base, const char *level,
                   const struct selinux_options *options, struct selinux_labels *labels,
                   struct error *err);
void selinux_labels_fini(struct selinux_labels *labels);

/* The same label with the policy's type for a virtual machine's process. */
char *selinux_kvm_label(const struct selinux *selinux, const char *label);

/* "s0:c12,c345": two categories by chance, which the caller holds against those in use. */
void selinux_level_new(char level[static SELINUX_LEVEL_MAX]);
/* The level of a label, borrowed from it; "" where it has none. */
const char *selinux_level(const char *label);

/* Labels one file, symlinks themselves. What holds no labels is passed over. Blocks on the disk. */
int selinux_set_label(const char *path, const char *label, struct error *err);

struct selinux_relabel {
        const char *path; /* a volume: a file or folder */
        const char *label;
        bool trust_top;   /* nothing is done where path itself has the label already */
        int64_t deadline; /* monotonic ns */
};
/*
 * Labels a whole tree, without following symlinks and without crossing into other mounts. What has
 * the label already is not written to. INVALID_ARGUMENT for the system's own folders;
 * DEADLINE_EXCEEDED where the time did not do: what has been done counts at the next try. Blocks on
 * the disk.
 */
int selinux_relabel(const struct selinux_relabel *job, struct error *err);

#define AUTO_SELINUX_LABELS CLEANUP(selinux_labels_fini)

#endif
