/*
 * store_private: what the store's own files share. Nobody else includes this.
 *
 * Whoever changes the disk holds store->lock from its first look at the tables to its last change
 * of them. The tables may be read without it at any time: they change only between waits. A layer
 * that nobody refers to any more stays in the table until store_collect, under the lock, has moved
 * its tree away; a commit that comes first takes it back.
 */
#ifndef CRISP_IMAGE_STORE_PRIVATE_H
#define CRISP_IMAGE_STORE_PRIVATE_H

#include "base/table.h"
#include "base/task.h"
#include "image/layer.h"
#include "image/spread.h"
#include "image/store.h"

#define STORE_RECORD_SUFFIX ".json"
#define STORE_FOLDERS       14

struct store_kept;

struct store {
        char *directory;
        int fd;                  /* of the directory */
        struct table *images;    /* by ID */
        struct table *names;     /* tags and repo digests to images */
        struct table *layers;    /* by diff ID */
        struct table *fixups;    /* by chain ID */
        struct table *artifacts; /* by manifest digest */
        struct table *numbers;   /* "12" to layers and fix-ups */
        struct table *lent;      /* "layers/HEX" to a layer that an additional store has */
        char **additional;       /* folders of other stores in use; null without */
        unsigned first_free;     /* all numbers below are taken */
        struct table *stages;    /* names of staging folders in use */
        struct spread *spread;   /* where trees were removed lately */
        struct task_lock lock;
        uint64_t generation; /* of the newest record */
        uint64_t bytes, inodes;
        bool cleaned;
        bool doubtful; /* a container's image is not here: layers that no record names may be its */
        struct store_kept *kept;
        struct timer *clean_timer; /* of the next look for garbage */
        int64_t clean_period, clean_retry;
        bool left_over;  /* a removal failed since the last look */
        bool collecting; /* a task that collects layers has been started and has not begun */
};

/* Images, tables. */
struct image *store_image(const struct store *store, const char *id);
void store_publish_names(struct store *store, struct image *image);
void store_withdraw_names(struct store *store, struct image *image);
/* Takes the name from its image's vectors too. */
void store_drop_name(struct store *store, struct image *image, const char *name);
/* The table that has such layers. */
struct table *store_layers_like(const struct store *store, const struct layer *layer);
/* Counts the layer in, with its number, or a free one where that is 0 or taken. */
void store_add_layer(struct store *store, struct layer *layer);
/* Forgets the layer and frees it. */
void store_drop_layer(struct store *store, struct layer *layer);
/* Takes the image and its references to layers and a fix-up out of the tables and frees it. */
void store_drop_image(struct store *store, struct image *image);

/* Of all names that images claim, the image gets those in names that it has the better claim to:
 * what the store has goes before what is lent, an earlier additional store before a later one, and
 * in one store the record that was written last. */
void store_claim_names(struct store *store, struct image *image, char *const *names);

/* ---- reading stores (store_load.c, store_extra.c); blocking ---- */

/* The folders that a store has. */
extern const char *const store_folders[STORE_FOLDERS];
/* Adds the names in a folder of a store to *names. */
int store_list_folder(int store_fd, const char *folder, char ***names, struct error *err);
/* Reads a record of the store in directory; *image stays null where name is not a record's. */
int store_read_record(const char *directory, const char *name, struct image **image,
                      struct error *err);
/* What the image names but the store that it lies in lacks, on the heap; or null. */
char *store_missing_part(int store_fd, const struct image *image);
/* Frees an image that store_read_record gave, with its layers. */
void store_drop_record(struct image *image);

/* Images that additional stores have: read before the store's own, as these may need their layers,
 * and taken in after them, as these go first. */
struct store_extra {
        struct image **images; /* their layers are in the store */
        size_t count;
};
/* links: short names that are there, as tree to number. Failures are logged. */
void store_extra_read(struct store *store, const struct table *links, struct store_extra *extra);
void store_extra_take(struct store *store, struct store_extra *extra);
void store_extra_fini(struct store_extra *extra);
/* Points those layers of the image that the store has not, and an additional one has, there. */
void store_extra_lend(const struct store *store, struct image *image);

/* FAILED_PRECONDITION, in words, where the image lies in an additional store. */
int store_refuse_lent(const struct image *image, struct error *err);

/* Writes the image's record with a new generation. Waits; the lock is held. */
int store_write_record(struct store *store, struct image *image, struct error *err);

/*
 * Moves away the trees of layers and fix-ups that nobody refers to, and the files of the image id
 * (may be null). What is to be removed is in *trash (a path for store_unstage) or null. Waits; the
 * lock is held.
 */
void store_collect(struct store *store, const char *id, const char *manifest_digest, char **trash);
/* Starts a task that does the same for layers alone. */
void store_collect_later(struct store *store);
/* Something could not be removed: where store_keep_clean looks after that, it does so soon. */
void store_clean_soon(struct store *store);

/* Removes an image that has no users, with all that is its own. Waits; takes the lock. */
int store_destroy(struct store *store, const char *id, struct error *err);

/* ---- layers on their way into place (store_place.c) ---- */

/* One part of a path that leads nowhere else. */
bool store_name_is_plain(const char *name);

/* A layer that is being placed, counted in. The lock is held. */
struct layer *store_new_layer(struct store *store, const struct fetch_layer *source,
                              bool is_artifact);

/* Places its tree and what goes with it, without a sync. Blocking. */
int store_place_layer(struct store *store, const char *staging, int staging_fd,
                      const struct fetch_layer *source, const struct layer *layer,
                      struct error *err);
/*
 * Whether the staged configuration, manifest and index have the digests that crisp-image says: it
 * reads strangers' bytes, and what becomes the image's ID and repo digest is not taken on its word.
 * Adds the configuration to *config. Of SHA-512 the word is taken. Blocking.
 */
int store_check_documents(int staging_fd, const struct fetch_result *result, struct buffer *config,
                          struct error *err);
int store_sync_folder(int store_fd, const char *folder, struct error *err);

/* Forgets what store_keep holds. */
void store_forget_kept(struct store *store);

/* Whether an image with this layer has users that are containers. */
bool store_layer_is_mounted(const struct store *store, const char *diff_id);

/* A fresh staging folder, blocking. */
int store_make_stage(int fd, const char *name, struct error *err);
/* Moves a tree into a staging folder as number; where that cannot be (a full disk) it is removed
 * where it is, which takes longer. Not there is fine. Blocking. */
int store_move_away(int fd, const char *tree, const char *stage, unsigned number,
                    struct error *err);

#endif
