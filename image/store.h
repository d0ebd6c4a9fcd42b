/*
 * store: the images that are here.
 *
 * On disk, below the folder given to store_open:
 *
 *     records/HEX.json     one for each image, HEX being the digits of its ID: names, layers. What
 * makes it an image configs/HEX          the configuration, byte for byte as its digest (the
 * image's ID) says manifests/HEX        the manifest layers/HEX/          a layer's tree, by diff
 * ID: whole, synced, in the form of an overlayfs layer tars/HEX             by what its tar stream
 * can be made again (fetch/split.h); layers of older versions have none fixups/HEX/          what
 * an image's layers cannot say alone, by chain ID (fixup.h) l/NUMBER             a short name for a
 * layer or fix-up: overlayfs gets 500 of them into one page staging/RANDOM/      what a pull is
 * filling, and what is being removed aside/               records that could not be read, each with
 * its reason beside it
 *
 * A record is written after everything it names is synced and in place, and removed before anything
 * it names; so after a crash at any point each image is whole or gone, and what no record names is
 * garbage, which store_clean removes.
 *
 * In memory is everything that status and lists need. The store belongs to the loop's thread; what
 * touches the disk says so, goes to a worker and is for tasks only.
 *
 * An image's ID is "sha256:" and the digits of its configuration's digest: this one string
 * everywhere. An artifact's is that of its manifest, which stands in configs/ too; its files are a
 * tree in artifacts/HEX, of which a container layer with the same digest knows nothing.
 */
#ifndef CRISP_IMAGE_STORE_H
#define CRISP_IMAGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "image/config.h"
#include "image/reference.h"
#include "image/request.h"

#define STORE_LAYERS_MAX        500               /* of one image: as many as overlayfs takes */
#define STORE_SIGNATURES_STAGED "signatures.json" /* in a staging folder: what was verified */
#define STORE_ASKED_BYTES_MAX   2048              /* of each text in struct store_asked */
#define STORE_ID_PREFIX_MIN     3                 /* digits; what is shorter is no ID but a name */

#define STORE_READER "offline-" /* how users begin that are no containers */

struct store;
struct layer; /* layer.h */

/*
 * An image, to be read only. It belongs to the store: a pointer to it is good until the caller
 * waits; afterwards look it up again by its ID.
 */
struct image {
        char *id;
        char **tags;           /* "docker.io/library/busybox:latest"; null when there are none */
        char **digests;        /* "docker.io/library/busybox@sha256:..." as pulled; null likewise */
        char *manifest_digest; /* of the image manifest, even where an index led to it */
        uint64_t size; /* bytes of the layers' content, uncompressed, and of the configuration */
        bool artifact; /* no container image: a folder of files */
        char *user;    /* the configuration's User, or "" */
        char *os, *architecture;
        int64_t pulled_at; /* real time, ns */
        /* As the newest pull asked for it (struct store_asked); "" where nothing is known. */
        char *asked, *user_specified, *runtime_handler;
        const char
                *home; /* the additional store that it lies in, borrowed; null: the store's own */
        /* ---- the store's own ---- */
        struct layer **layers; /* the lowest first */
        size_t layer_count;
        struct layer *fixup; /* goes on top of the layers; null where there is nothing to mend */
        struct table *users; /* IDs of containers */
        uint64_t generation; /* of its record: the higher one has a tag that two records claim */
        bool removed;        /* has no names and is in no list: stays for its users alone */
};

/*
 * Reads the store in directory, which is made if it is not there. Blocks on the disk: before the
 * loop runs, or from a task that may hold the loop up. A record that cannot be read is set aside,
 * an image that lacks a layer, its configuration or manifest is not taken in: both are logged and
 * stop nothing.
 *
 * additional (a strv, may be null; copied) has folders of other stores, the preferred ones first.
 * Their images and layers are used where they lie and nothing there is changed; the store's own
 * come first. One that cannot be read is logged and passed over.
 */
int store_open(const char *directory, char *const *additional, struct store **store,
               struct error *err);

/* Frees the memory; null is allowed. No task may be inside the store. */
void store_free(struct store *store);

/*
 * Removes what a crash left: staging, layers and files that no record names, images that were
 * removed and have no users any more, trees that were set aside and are not mounted any more. What
 * pulls have placed or staged stays: it may run at any time, first after store_use was called for
 * every container that is there. Waits.
 */
void store_clean(struct store *store);

#define STORE_CLEAN_PERIOD (3600 * NSEC_PER_SEC)
#define STORE_CLEAN_RETRY  (300 * NSEC_PER_SEC)

/*
 * store_clean in a task of its own, at once and then again period after its end, or retry after
 * something could not be removed (both ns), until store_free.
 */
void store_keep_clean(struct store *store, int64_t period, int64_t retry);

/*
 * The image of this name: its ID with or without "sha256:", a unique prefix of that with
 * STORE_ID_PREFIX_MIN digits or more, a tag ("busybox", "docker.io/library/busybox:latest") or a
 * repo digest. Names win over prefixes. Null when unknown. Short names are docker.io's here: what
 * the machine's registries.conf makes of them is sources_find's.
 */
const struct image *store_find(const struct store *store, const char *name);
/* The same for IDs and their prefixes alone. */
const struct image *store_find_id(const struct store *store, const char *name);

/* The image of this ID, which the caller holds with store_use: found even when it was removed. */
const struct image *store_held(const struct store *store, const char *id);
/* Whether a layer of this diff ID is here. */
bool store_has_layer(const struct store *store, const char *diff_id);

/* Where that layer's tree is, on the heap; it must be here. */
char *store_layer_path(const struct store *store, const char *diff_id);

/* The next image, in no order; start with *cursor 0; null at the end. */
const struct image *store_next(const struct store *store, size_t *cursor);

/*
 * Counts user (a container's ID) among those for whom the image stays. Repeating it changes
 * nothing. id is an image's ID in full; an image that was removed but still has users is found too.
 * NOT_FOUND when it is not here.
 */
int store_use(struct store *store, const char *id, const char *user, struct error *err);
/* The opposite; unknown images and users are fine. Removes a removed image's layers with the last,
 * in a task of its own. */
void store_release(struct store *store, const char *id, const char *user);

/*
 * Removes the image that name finds, with all its names; unknown is success. What its users need
 * stays until the last of them is released. Waits until the record is gone and, unless in use, the
 * disk is freed. FAILED_PRECONDITION for an image that lies in an additional store.
 */
int store_remove(struct store *store, const char *name, struct error *err);

/* Reads and parses an image's configuration; id in full. FAILED_PRECONDITION for an artifact. The
 * caller calls image_config_free. Waits. */
int store_config(struct store *store, const char *id, struct image_config **config,
                 struct error *err);
/* The configuration's bytes, an artifact's manifest, added to *contents. Waits. */
int store_config_text(struct store *store, const char *id, struct buffer *contents,
                      struct error *err);

/*
 * What image's user means to CRI: true with a number, or else false with a name in username, cut at
 * size. A name that is empty where the image says nothing, which means root.
 */
bool store_user_id(const struct image *image, int64_t *uid, char *username, size_t size);

/* ---- for pulls ---- */

/* Makes a fresh staging folder and gives its path. Waits. */
int store_stage(struct store *store, char **staging, struct error *err);
/* A staging folder that is there already stays until store_unstage, as if store_stage had made it.
 */
void store_keep_stage(struct store *store, const char *name);
/* Removes a staging folder and what is left in it; frees the path. Failures are logged. Waits. */
void store_unstage(struct store *store, char *staging);

/* Layers that stay in place until the hold is freed, whoever removes images meanwhile. */
struct store_hold;
struct store_hold *store_hold_new(struct store *store); /* all layers that are here now */
void store_hold_free(struct store_hold *hold);          /* null is allowed */
/* Their diff IDs, borrowed from the hold. */
const char *const *store_hold_diff_ids(const struct store_hold *hold, size_t *count);
/* That layer alone; null where it is not here. */
struct store_hold *store_hold_layer(struct store *store, const char *diff_id);

/*
 * Takes in what a pull brought: marks opaque folders, renames the layers, the configuration and the
 * manifest from staging into place (what is there already wins), syncs, writes the record.
 * reference's tag, if it was pulled by tag, moves here from the image that had it. result comes
 * from a program that read strangers' bytes and is checked like them. Gives the image's ID. Waits.
 */
int store_commit(struct store *store, const struct reference *reference, const char *staging,
                 const struct fetch_result *result, char **id, struct error *err);

/* In which words an image was asked for. They are kept with it for clients that ask, and mean
 * nothing to the store. Null where nothing was said. */
struct store_asked {
        const char *image;
        const char *user_specified;  /* before somebody else completed it */
        const char *runtime_handler; /* that it is meant for */
};

/* The same, keeping asked: what the newest pull said counts. What is longer than
 * STORE_ASKED_BYTES_MAX is left out. */
int store_commit_asked(struct store *store, const struct reference *reference,
                       const struct store_asked *asked, const char *staging,
                       const struct fetch_result *result, char **id, struct error *err);

/* Where the signatures of the image with this manifest are kept, whether there are any or not, on
 * the heap. */
char *store_signatures_path(const struct store *store, const char *manifest_digest);

/* Gives the image a tag more, which moves here from the image that had it. id in full; NOT_FOUND.
 * Waits. */
int store_tag(struct store *store, const char *id, const struct reference *reference,
              struct error *err);

/*
 * Exchanges layers of an image for those that a pull of the same image brought into staging, and
 * its configuration and manifest likewise. A tree that a container has mounted is set aside, and
 * removed by the first store_clean that finds the layer without one. FAILED_PRECONDITION where the
 * result is another image's. Waits.
 */
int store_repair(struct store *store, const char *id, const char *staging,
                 const struct fetch_result *result, struct error *err);

/* ---- sizes ---- */

struct store_usage {
        const char *directory;   /* the store's folder, borrowed */
        char *const *additional; /* those of other stores in use, borrowed; may be null */
        uint64_t bytes;          /* of the contents of the store's own layers */
        uint64_t inodes;
        uint64_t images;
        uint64_t layers;
};
void store_usage(const struct store *store, struct store_usage *usage);

/* ---- for root filesystems ---- */

/*
 * What a mount of the image needs, as heap strings: the folder with the short names, those names
 * from the highest layer down, separated by colons ("" without layers), and the one whose root
 * folder's owner and mode count ("" without).
 */
int store_lower(const struct store *store, const char *id, char **links, char **lower, char **root,
                struct error *err);

static inline void cleanup_store_hold(struct store_hold **hold)
{
        store_hold_free(*hold);
}
#define AUTO_STORE_HOLD CLEANUP(cleanup_store_hold)

#endif
