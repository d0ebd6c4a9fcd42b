/* Additional stores: other crisps' folders, whose images and layers are used where they lie. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "image/record.h"
#include "image/store_private.h"

/* ---- reading ---- */

static void warn(const char *message, const char *directory, const char *record,
                 const struct error *why)
{
        char text[ERROR_MESSAGE_MAX + ERROR_WORD_MAX];
        error_render(why, text, sizeof(text));
        log_warning(message, "store", directory, "record", record, "error", text, NULL);
}

/* Exchanges the layer for the one that is lent under its place, or lends it. */
static void lend_layer(struct store *store, const struct table *links, struct layer **slot)
{
        struct layer *layer = *slot;
        AUTO_FREE char *place = layer_place_name(layer);
        struct layer *known = table_get(store->lent, place);
        if (known) {
                layer_free(layer);
                *slot = known;
        } else {
                AUTO_FREE char *path = layer_path(layer);
                layer->number = (unsigned)(uintptr_t)table_get(links, path);
                layer->refs = 1; /* the table's: it is never collected */
                table_put(store->lent, place, layer);
                store_add_layer(store, layer);
        }
        (*slot)->refs++;
}

static void place_image(struct image *image, const char *directory)
{
        image->home = directory;
        for (size_t i = 0; i < image->layer_count; i++)
                image->layers[i]->home = directory;
        if (image->fixup)
                image->fixup->home = directory;
}

static void read_image(struct store *store, const struct table *links, int fd,
                       const char *directory, const char *name, struct store_extra *extra)
{
        struct image *image;
        struct error err;

        if (store_read_record(directory, name, &image, &err) < 0) {
                warn("image of an additional store is passed over", directory, name, &err);
                return;
        }
        if (!image)
                return;
        place_image(image, directory);
        AUTO_FREE char *missing = store_missing_part(fd, image);
        if (missing)
                log_warning("image of an additional store is not whole and is passed over", "store",
                            directory, "image", image->id, "missing", missing, NULL);
        /* A removed one is there for the containers of that store's owner alone. */
        if (missing || image->removed) {
                store_drop_record(image);
                return;
        }
        for (size_t i = 0; i < image->layer_count; i++)
                lend_layer(store, links, &image->layers[i]);
        if (image->fixup)
                lend_layer(store, links, &image->fixup);
        extra->images = xrealloc(extra->images, (extra->count + 1) * sizeof(struct image *));
        extra->images[extra->count++] = image;
}

/* A folder may have several names: what it is tells. */
static int refuse_own(const struct store *store, int fd, struct error *err)
{
        struct stat own, other;
        if (fstat(store->fd, &own) < 0 || fstat(fd, &other) < 0)
                return error_errno(err, errno, "look at the folder");
        if (own.st_dev == other.st_dev && own.st_ino == other.st_ino)
                return error_set(err, ERROR_INVALID_ARGUMENT, "it is the image store itself");
        return 0;
}

static int read_store(struct store *store, const struct table *links, const char *directory,
                      struct store_extra *extra, struct error *err)
{
        char **names = NULL;
        AUTO_FD int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return error_errno(err, errno, "open it");
        int result = refuse_own(store, fd, err);
        if (result == 0)
                result = store_list_folder(fd, "records", &names, err);
        for (char **name = names; result == 0 && name && *name; name++)
                read_image(store, links, fd, directory, *name, extra);
        strv_free(names);
        return result;
}

void store_extra_read(struct store *store, const struct table *links, struct store_extra *extra)
{
        char **used = store->additional;
        for (char **directory = store->additional; directory && *directory; directory++) {
                struct error err;
                if (read_store(store, links, *directory, extra, &err) == 0) {
                        *used++ = *directory;
                        continue;
                }
                warn("additional image store is not used", *directory, "", &err);
                free(*directory);
        }
        if (used)
                *used = NULL;
}

/* ---- taking in ---- */

static void give_back(struct image *image)
{
        for (size_t i = 0; i < image->layer_count; i++)
                image->layers[i]->refs--;
        if (image->fixup)
                image->fixup->refs--;
        image_free(image);
}

void store_extra_take(struct store *store, struct store_extra *extra)
{
        for (size_t i = 0; i < extra->count; i++) {
                struct image *image = extra->images[i];
                if (store_image(store, image->id)) {
                        give_back(image);
                        continue;
                }
                table_put(store->images, image->id, image);
                store_claim_names(store, image, image->tags);
                store_claim_names(store, image, image->digests);
        }
        extra->count = 0;
}

void store_extra_fini(struct store_extra *extra)
{
        for (size_t i = 0; i < extra->count; i++)
                give_back(extra->images[i]);
        free(extra->images);
}

static void lend(const struct store *store, struct layer *layer)
{
        struct stat st;
        AUTO_FREE char *place = layer_place_name(layer);
        const struct layer *lent = table_get(store->lent, place);
        if (lent && fstatat(store->fd, place, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                layer->home = lent->home;
}

void store_extra_lend(const struct store *store, struct image *image)
{
        for (size_t i = 0; i < image->layer_count; i++)
                lend(store, image->layers[i]);
        if (image->fixup)
                lend(store, image->fixup);
}

int store_refuse_lent(const struct image *image, struct error *err)
{
        if (!image->home)
                return 0;
        return error_set(err, ERROR_FAILED_PRECONDITION,
                         "image %s lies in the additional store %s, which is only read: change it "
                         "there",
                         image->tags ? image->tags[0] : image->id, image->home);
}
