/*
 * offline: images without a registry, and proof that what is stored is right.
 *
 * Each call runs a crisp-image of its own, which reads archives and trees and has no network (a
 * check of what a registry has excepted). All of them are for tasks, wait interruptibly
 * (-ECANCELED), and report while they run through the hooks, on the loop's thread. Whatever is
 * borrowed must stay until the call returns.
 */
#ifndef CRISP_IMAGE_OFFLINE_H
#define CRISP_IMAGE_OFFLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/offline_request.h"
#include "image/pull.h"
#include "image/store.h"

struct offline;

struct offline_options {
        struct store *store;      /* outlives it, as the puller does */
        struct puller *puller;    /* for repairs */
        const char *program;      /* absolute path of crisp-image */
        char *const *environment; /* what crisp-image gets; or null */
        struct fetch_limits limits;
};

struct offline *offline_new(const struct offline_options *options);
void offline_free(struct offline *offline); /* no call may be under way; null is allowed */

/* Each may be null. What they are given is good for the call alone. */
struct offline_hooks {
        void (*on_finding)(void *argument, const struct finding *finding);
        void (*on_progress)(void *argument, const struct offline_progress *progress);
        void *argument;
};

/* What became of a verification or check. The findings themselves went to the hook. */
struct offline_summary {
        uint64_t objects; /* looked at: layers, configurations, manifests */
        uint64_t passed, warned, failed;
        uint64_t unsaid; /* failures beyond OFFLINE_FINDINGS_MAX of one object, only counted */
};

/*
 * Verifies images (ID, prefix, tag or digest; none: all that are here): each configuration and
 * manifest by its digest, each layer by making its tar stream again and by comparing every
 * attribute of its tree, each fix-up. Returns 0 when it could be done, whatever was found.
 * NOT_FOUND for a name that is not here.
 */
int offline_verify(struct offline *offline, const char *const *names, size_t count,
                   const struct offline_hooks *hooks, struct offline_summary *summary,
                   struct error *err);

/*
 * Verifies, and for images with failures fetches the broken layers again from where they came (by
 * repo digest), exchanges them in place and verifies again: summary is that of the second look.
 * FAILED_PRECONDITION where a broken image has no repo digest to pull by. Containers that run keep
 * the files that they have open; a tree that was set aside goes when no container uses its image.
 */
int offline_repair(struct offline *offline, const char *const *names, size_t count,
                   const struct offline_hooks *hooks, struct offline_summary *summary,
                   struct error *err);

struct offline_saving {
        const char *const *names; /* images as store_find has them; a tag or digest is written as
                                     the image's name, an ID with all its tags */
        size_t count;
        enum offline_format format;
        enum offline_compression compression; /* of layers; docker-archive takes none alone */
        int fd; /* borrowed: a new file that can be written and sought, or an empty folder for
                   OFFLINE_OCI_FOLDER. After a failure its contents are of no use: write beside,
                   sync and rename after success */
};
/*
 * FAILED_PRECONDITION for an image with a layer that was unpacked by an older crisp, which kept no
 * record to make it again by (pull it again); DATA_LOSS where what is stored is not whole.
 */
int offline_save(struct offline *offline, const struct offline_saving *saving,
                 const struct offline_hooks *hooks, struct error *err);

struct offline_loading {
        int fd;           /* borrowed: an archive (file or pipe) or the folder of an OCI layout */
        const char *name; /* for an image that brings none; null: such an image is refused */
        const char *os, *architecture, *variant; /* which of an index's images; null: this
                                                    machine's */
};

/* An image that was loaded. */
struct offline_loaded {
        char *id;
        char **names; /* with tags, in full; at least one */
};
void offline_loaded_free(struct offline_loaded *loaded, size_t count); /* null is allowed */

/*
 * Loads all images of an OCI layout or docker-archive (also compressed), and gives them on the
 * heap. The archive says nothing that is not checked, and nothing of it is stored before all of it
 * was.
 */
int offline_load(struct offline *offline, const struct offline_loading *loading,
                 const struct offline_hooks *hooks, struct offline_loaded **loaded, size_t *count,
                 struct error *err);

struct offline_checking {
        int fd; /* borrowed: an archive or folder; -1: what the registry has by reference */
        const char *reference;                       /* in full */
        const struct fetch_credentials *credentials; /* as in a pull; or null */
};

/*
 * Whether an image is OCI-compliant: a finding for each thing that was looked at, passes too.
 * Returns 0 when it could be done, whatever was found.
 */
int offline_check(struct offline *offline, const struct offline_checking *checking,
                  const struct offline_hooks *hooks, struct offline_summary *summary,
                  struct error *err);

#endif
