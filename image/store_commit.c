/* What a pull brought, on its way into the store. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/fixup.h"
#include "image/record.h"
#include "image/store_private.h"

#define USER_LENGTH_MAX 512 /* bytes of a configuration's User */

struct commit {
        struct store *store;
        const char *staging;
        const struct fetch_result *result;
        const struct store_asked *asked; /* or null */
        struct layer **layers;           /* as the image has them; each with a reference of ours */
        size_t layer_count;
        const struct fetch_layer **sources; /* for each layer what is to be placed, or null */
        bool known;                         /* the image is here: its fix-up too, if it needs one */
        struct layer *fixup; /* with a reference of ours; null where none is needed */
        bool has_new_fixup;  /* it was built just now */
        char *replaced;      /* the manifest that the image had until now, or null */
        /* from the configuration */
        struct image_config *config;
        struct error *err;
};

/* ---- checks ---- */

static int wrong(struct error *err, const char *what)
{
        return error_set(err, ERROR_INTERNAL, "crisp-image's result: %s", what);
}

/* One folder without anything that only layers have. */
static bool is_artifact(const struct fetch_result *result)
{
        const struct fetch_layer *folder = result->layers;
        return result->layer_count == 1 && folder->directory && folder->opaque_count == 0 &&
               folder->implied_count == 0 && folder->link_count == 0 &&
               strcmp(result->config_digest, result->manifest_digest) == 0 &&
               strcmp(folder->diff_id, result->manifest_digest) == 0;
}

static int check_result(const struct fetch_result *result, struct error *err)
{
        if (!digest_is_valid(result->config_digest) || !digest_is_valid(result->manifest_digest) ||
            !digest_is_valid(result->repo_digest))
                return wrong(err, "not a digest");
        if (result->layer_count > STORE_LAYERS_MAX)
                return error_set(err, ERROR_FAILED_PRECONDITION,
                                 "the image has %zu layers; at most %d can be mounted",
                                 result->layer_count, STORE_LAYERS_MAX);
        if (result->artifact && !is_artifact(result))
                return wrong(err, "not an artifact");
        for (size_t i = 0; i < result->layer_count; i++) {
                const struct fetch_layer *layer = &result->layers[i];
                if (!digest_is_valid(layer->diff_id))
                        return wrong(err, "not a diff ID");
                if (layer->directory && !store_name_is_plain(layer->directory))
                        return wrong(err, "not a name of a layer's folder");
        }
        return 0;
}

/* ---- on a worker ---- */

static int check_config(struct commit *commit, int staging_fd)
{
        AUTO_BUFFER struct buffer text = BUFFER_INIT;
        AUTO_IMAGE_CONFIG struct image_config *config = NULL;
        int result = store_check_documents(staging_fd, commit->result, &text, commit->err);
        if (result < 0 || commit->result->artifact)
                return result;
        result = image_config_parse(text.data, text.length, "image configuration", &config,
                                    commit->err);
        if (result < 0)
                return result;
        if (strlen(config->user) > USER_LENGTH_MAX)
                return error_set(commit->err, ERROR_INVALID_ARGUMENT,
                                 "image configuration: User: longer than %d bytes",
                                 USER_LENGTH_MAX);
        if (strv_length(config->diff_ids) != commit->layer_count)
                return wrong(commit->err, "other layers than the configuration's");
        for (size_t i = 0; i < commit->layer_count; i++)
                if (strcmp(config->diff_ids[i], commit->layers[i]->name) != 0)
                        return wrong(commit->err, "other layers than the configuration's");
        commit->config = take_ptr(config);
        return 0;
}

static int place_fixup(struct commit *commit, int staging_fd)
{
        bool noted = false;
        for (size_t i = 0; i < commit->layer_count; i++)
                noted |= commit->layers[i]->noted;
        if (commit->known || commit->fixup || !noted || commit->result->artifact)
                return 0;
        AUTO_FREE char *chain_id = layer_chain_id(commit->layers, commit->layer_count);
        struct layer *fixup = layer_new(chain_id, true);
        bool needed = false;
        int result = fixup_build(commit->store->fd, commit->layers, commit->layer_count, staging_fd,
                                 "fixup", fixup, &needed, commit->err);
        if (result == 0 && needed && commit->layer_count == STORE_LAYERS_MAX)
                result = error_set(commit->err, ERROR_FAILED_PRECONDITION,
                                   "the image's %d layers need one more to fit together: too many",
                                   STORE_LAYERS_MAX);
        if (result == 0 && needed) {
                AUTO_FREE char *target = layer_path(fixup);
                result = layer_place(staging_fd, "fixup", commit->store->fd, target, commit->err);
        }
        if (result < 0 || !needed) {
                layer_free(fixup);
        } else {
                fixup->refs = 1;
                commit->fixup = fixup;
                commit->has_new_fixup = true;
        }
        return result;
}

/*
 * crisp-image has synced the trees; what was renamed goes with its folder. Marks and fix-ups are
 * spread over the trees: one sync of the file system costs less than one of each.
 */
static int sync_all(struct commit *commit)
{
        static const char *const folders[] = {"notes",   "tars",      "layers",    "artifacts",
                                              "configs", "manifests", "signatures"};
        bool spread = commit->has_new_fixup;
        int result = 0;
        for (size_t i = 0; i < commit->layer_count; i++)
                spread |= commit->sources[i] && commit->sources[i]->opaque_count > 0;
        if (spread)
                return syncfs(commit->store->fd) < 0
                               ? error_errno(commit->err, errno, "sync the image store")
                               : 0;
        for (size_t i = 0; result == 0 && i < sizeof(folders) / sizeof(folders[0]); i++)
                result = store_sync_folder(commit->store->fd, folders[i], commit->err);
        return result;
}

/* Newer signatures take the older ones' place: they have those in them. */
static int place_signatures(struct commit *commit, int staging_fd)
{
        AUTO_FREE char *target =
                xprintf("signatures/%s", layer_hex(commit->result->manifest_digest));
        struct stat st;
        /* crisp-image could have put anything there. */
        if (fstatat(staging_fd, STORE_SIGNATURES_STAGED, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode))
                return 0;
        if (renameat(staging_fd, STORE_SIGNATURES_STAGED, commit->store->fd, target) < 0)
                return error_errno(commit->err, errno, "place %s", target);
        return 0;
}

static int commit_work(void *argument)
{
        struct commit *commit = argument;
        const struct fetch_result *fetched = commit->result;
        AUTO_FREE char *config = xprintf("configs/%s", layer_hex(fetched->config_digest));
        AUTO_FREE char *manifest = xprintf("manifests/%s", layer_hex(fetched->manifest_digest));
        AUTO_FD int staging_fd =
                open(commit->staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int store_fd = commit->store->fd;
        int r;

        if (staging_fd < 0)
                return error_errno(commit->err, errno, "open %s", commit->staging);
        if ((r = check_config(commit, staging_fd)) < 0)
                return r;
        for (size_t i = 0; i < commit->layer_count; i++) {
                if (!commit->sources[i])
                        continue;
                r = store_place_layer(commit->store, commit->staging, staging_fd,
                                      commit->sources[i], commit->layers[i], commit->err);
                if (r < 0)
                        return r;
        }
        if ((r = place_fixup(commit, staging_fd)) < 0 ||
            (r = layer_place(staging_fd, "config.json", store_fd, config, commit->err)) < 0 ||
            (r = layer_place(staging_fd, "manifest.json", store_fd, manifest, commit->err)) < 0)
                return r;
        if ((r = place_signatures(commit, staging_fd)) < 0)
                return r;
        return sync_all(commit);
}

/* ---- on the loop's thread ---- */

/* Refers to each layer that is here, and makes those that came. */
static int collect_layers(struct commit *commit)
{
        const struct table *known =
                commit->result->artifact ? commit->store->artifacts : commit->store->layers;
        for (size_t i = 0; i < commit->result->layer_count; i++) {
                const struct fetch_layer *source = &commit->result->layers[i];
                struct layer *layer = table_get(known, source->diff_id);
                if (!layer && !source->directory)
                        return wrong(commit->err, "a layer is missing");
                if (!layer) {
                        layer = store_new_layer(commit->store, source, commit->result->artifact);
                        commit->sources[i] = source;
                }
                layer->refs++;
                commit->layers[commit->layer_count++] = layer;
        }
        return 0;
}

/* Images with the same layers share what makes these fit together. */
static void find_fixup(struct commit *commit)
{
        if (commit->known || commit->layer_count == 0 || commit->result->artifact)
                return;
        AUTO_FREE char *chain_id = layer_chain_id(commit->layers, commit->layer_count);
        commit->fixup = table_get(commit->store->fixups, chain_id);
        if (commit->fixup)
                commit->fixup->refs++;
}

static bool has_name(char *const *names, const char *name)
{
        for (; names && *names; names++)
                if (strcmp(*names, name) == 0)
                        return true;
        return false;
}

/* A text as it is kept: what is not there or too long is not. On the heap. */
static char *kept_text(const char *text)
{
        return xstrdup(text && strlen(text) <= STORE_ASKED_BYTES_MAX ? text : "");
}

static void keep_asked(struct image *image, const struct store_asked *asked)
{
        free(image->asked);
        free(image->user_specified);
        free(image->runtime_handler);
        image->asked = kept_text(asked->image);
        image->user_specified = kept_text(asked->user_specified);
        image->runtime_handler = kept_text(asked->runtime_handler);
}

/* The image as it will be. commit's layers go to a new image; one that is here has them already. */
static struct image *make_image(struct commit *commit)
{
        const struct fetch_result *fetched = commit->result;
        struct image *image = image_new();
        image->id = xstrdup(fetched->config_digest);
        image->manifest_digest = xstrdup(fetched->manifest_digest);
        const struct image_config *config = commit->config; /* an artifact has none */
        image->artifact = fetched->artifact;
        image->user = xstrdup(config ? config->user : "");
        image->os = xstrdup(config ? config->os : "");
        image->architecture = xstrdup(config ? config->architecture : "");
        image->size = (uint64_t)fetched->config_size;
        keep_asked(image, &(struct store_asked){0});
        for (size_t i = 0; i < commit->layer_count; i++)
                image->size += commit->layers[i]->bytes;
        image->layers = take_ptr(commit->layers);
        image->layer_count = commit->layer_count;
        commit->layer_count = 0;
        image->fixup = take_ptr(commit->fixup); /* with its reference */
        return image;
}

/* Takes a name away from the image that has it. Its record follows; until then the newer record
 * counts. */
static void move_name(struct store *store, struct image *image, const char *name)
{
        struct image *other = table_get(store->names, name);
        if (other && other != image) {
                struct error err;
                AUTO_FREE char *id = xstrdup(other->id);
                store_drop_name(store, other, name);
                table_put(store->names, name, image);
                if (!other->home && store_write_record(store, other, &err) < 0)
                        log_failure(&err, "record of an image that lost a name", "image", id, NULL);
        } else {
                table_put(store->names, name, image);
        }
}

/* Writes the record with the new names; all as before on failure. */
static int name_image(struct commit *commit, struct image *image, const char *tag,
                      const char *digest)
{
        bool new_tag = tag && !has_name(image->tags, tag);
        bool new_digest = !has_name(image->digests, digest);
        bool was_removed = image->removed;
        int64_t pulled_at = image->pulled_at;

        /* A record with more could not be read again. */
        if ((new_tag && strv_length(image->tags) >= RECORD_NAMES_MAX) ||
            (new_digest && strv_length(image->digests) >= RECORD_NAMES_MAX))
                return error_set(commit->err, ERROR_RESOURCE_EXHAUSTED,
                                 "image %s has %d names already: remove it first", image->id,
                                 RECORD_NAMES_MAX);
        if (new_tag)
                strv_push(&image->tags, tag);
        if (new_digest)
                strv_push(&image->digests, digest);
        image->removed = false;
        image->pulled_at = clock_real();
        if (commit->asked)
                keep_asked(image, commit->asked);
        char *old_manifest = image->manifest_digest;
        image->manifest_digest = xstrdup(commit->result->manifest_digest);

        int result = store_write_record(commit->store, image, commit->err);
        if (result == 0) {
                if (strcmp(old_manifest, image->manifest_digest) != 0)
                        commit->replaced = take_ptr(old_manifest);
                free(old_manifest);
                return 0;
        }
        free(image->manifest_digest);
        image->manifest_digest = old_manifest;
        image->removed = was_removed;
        image->pulled_at = pulled_at;
        if (new_tag)
                store_drop_name(commit->store, image, tag);
        if (new_digest)
                store_drop_name(commit->store, image, digest);
        return result;
}

struct link_job {
        int store_fd;
        const struct layer *layer;
        struct error *err;
};

static int link_work(void *argument)
{
        struct link_job *job = argument;
        return layer_link(job->store_fd, job->layer, job->err);
}

/* The image that lies in an additional store gives way to the store's own, with its names. */
static void replace_lent(struct store *store, struct image *lent, struct image *image)
{
        struct table *users = lent->users;
        lent->users = image->users;
        image->users = users;
        store_drop_image(store, lent);
        store_publish_names(store, image);
}

static int publish(struct commit *commit, const struct reference *reference)
{
        struct store *store = commit->store;
        /* With a digest in the reference the tag is decoration: it may be elsewhere by now. */
        AUTO_FREE char *tag = reference->digest[0] ? NULL : reference_tagged(reference);
        AUTO_FREE char *digest = reference_digested(reference, commit->result->repo_digest);
        struct image *image = store_image(store, commit->result->config_digest);
        struct image *lent = image && image->home ? image : NULL;
        bool fresh = !image || lent;

        if (fresh)
                image = make_image(commit);
        if (lent) {
                image->tags = strv_dup(lent->tags);
                image->digests = strv_dup(lent->digests);
        }
        for (size_t i = 0; i < image->layer_count; i++)
                image->layers[i]->placing = false;
        int result = 0;
        if (commit->has_new_fixup && fresh)
                result = task_offload(link_work,
                                      &(struct link_job){store->fd, image->fixup, commit->err});
        if (result == 0)
                result = name_image(commit, image, tag, digest);
        if (result < 0) {
                if (fresh)
                        store_drop_image(store, image);
                return result;
        }
        if (lent)
                replace_lent(store, lent, image);
        table_put(store->images, image->id, image);
        if (tag)
                move_name(store, image, tag);
        move_name(store, image, digest);
        return 0;
}

int store_commit_asked(struct store *store, const struct reference *reference,
                       const struct store_asked *asked, const char *staging,
                       const struct fetch_result *result, char **id, struct error *err)
{
        int r = check_result(result, err);
        if (r == 0 && reference->digest[0] && strcmp(reference->digest, result->repo_digest) != 0)
                r = wrong(err, "another digest than was asked for");
        if (r < 0)
                return r;
        struct commit commit = {
                .store = store, .staging = staging, .result = result, .asked = asked, .err = err};
        commit.layers = xcalloc(result->layer_count + 1, sizeof(struct layer *));
        commit.sources = xcalloc(result->layer_count + 1, sizeof(struct fetch_layer *));
        char *trash = NULL;

        task_lock(&store->lock, CLOCK_NEVER);
        const struct image *known = store_image(store, result->config_digest);
        commit.known = known && !known->home;
        r = collect_layers(&commit);
        if (r == 0) {
                find_fixup(&commit);
                r = task_offload(commit_work, &commit);
        }
        if (commit.has_new_fixup)
                store_add_layer(store, commit.fixup);
        if (r == 0)
                r = publish(&commit, reference);
        /* What the image took is no longer ours to give back. */
        for (size_t i = 0; i < commit.layer_count; i++)
                commit.layers[i]->refs--;
        if (commit.fixup)
                commit.fixup->refs--;
        if (r < 0) {
                for (size_t i = 0; i < commit.layer_count; i++)
                        commit.layers[i]->placing = false;
                store_collect(store, NULL, NULL, &trash);
        } else if (commit.replaced) {
                store_collect(store, NULL, commit.replaced, &trash);
        }
        task_unlock(&store->lock);

        store_unstage(store, trash);
        image_config_free(commit.config);
        free(commit.layers);
        free(commit.sources);
        free(commit.replaced);
        if (r < 0)
                return error_context(err, "store image");
        *id = xstrdup(result->config_digest);
        return 0;
}

int store_commit(struct store *store, const struct reference *reference, const char *staging,
                 const struct fetch_result *result, char **id, struct error *err)
{
        return store_commit_asked(store, reference, NULL, staging, result, id, err);
}

/* ---- names alone ---- */

static int add_tag(struct store *store, struct image *image, const char *tag, struct error *err)
{
        if (strv_length(image->tags) >= RECORD_NAMES_MAX)
                return error_set(err, ERROR_RESOURCE_EXHAUSTED,
                                 "image %s has %d names already: remove it first", image->id,
                                 RECORD_NAMES_MAX);
        strv_push(&image->tags, tag);
        int result = store_write_record(store, image, err);
        if (result < 0)
                store_drop_name(store, image, tag);
        else
                move_name(store, image, tag);
        return result;
}

int store_tag(struct store *store, const char *id, const struct reference *reference,
              struct error *err)
{
        AUTO_FREE char *tag = reference_tagged(reference);
        int result = 0;

        task_lock(&store->lock, CLOCK_NEVER);
        struct image *image = store_image(store, id);
        if (!image || image->removed)
                result = error_set(err, ERROR_NOT_FOUND, "image %.100s: not found", id);
        else if (tag && !has_name(image->tags, tag) &&
                 (result = store_refuse_lent(image, err)) == 0)
                result = add_tag(store, image, tag, err);
        task_unlock(&store->lock);
        return result < 0 ? error_context(err, "store image") : 0;
}
