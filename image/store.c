#include "image/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "image/record.h"
#include "image/store_private.h"

#define SHA256      "sha256:"
#define USER_ID_MAX INT64_C(4294967294) /* the last number that a uid can have */

/* ---- tables ---- */

struct image *store_image(const struct store *store, const char *id)
{
        return table_get(store->images, id);
}

static char **vector_without(char **vector, const char *text)
{
        char **kept = NULL;
        for (char **item = vector; item && *item; item++)
                if (strcmp(*item, text) != 0)
                        strv_push(&kept, *item);
        strv_free(vector);
        return kept;
}

void store_drop_name(struct store *store, struct image *image, const char *name)
{
        if (table_get(store->names, name) == image)
                table_remove(store->names, name);
        image->tags = vector_without(image->tags, name);
        image->digests = vector_without(image->digests, name);
}

static void publish(struct store *store, struct image *image, char *const *names)
{
        for (; names && *names; names++)
                table_put(store->names, *names, image);
}

void store_publish_names(struct store *store, struct image *image)
{
        publish(store, image, image->tags);
        publish(store, image, image->digests);
}

static void withdraw(struct store *store, const struct image *image, char *const *names)
{
        for (; names && *names; names++)
                if (table_get(store->names, *names) == image)
                        table_remove(store->names, *names);
}

void store_withdraw_names(struct store *store, struct image *image)
{
        withdraw(store, image, image->tags);
        withdraw(store, image, image->digests);
}

static bool number_is_free(const struct store *store, unsigned number)
{
        char name[16];
        snprintf(name, sizeof(name), "%u", number);
        return !table_get(store->numbers, name);
}

struct table *store_layers_like(const struct store *store, const struct layer *layer)
{
        return layer->is_fixup      ? store->fixups
               : layer->is_artifact ? store->artifacts
                                    : store->layers;
}

void store_add_layer(struct store *store, struct layer *layer)
{
        char name[16];
        if (layer->number == 0 || !number_is_free(store, layer->number)) {
                if (store->first_free == 0)
                        store->first_free = 1;
                while (!number_is_free(store, store->first_free))
                        store->first_free++;
                layer->number = store->first_free;
        }
        snprintf(name, sizeof(name), "%u", layer->number);
        table_put(store->numbers, name, layer);
        table_put(store_layers_like(store, layer), layer->name, layer);
        if (layer->home)
                return;
        store->bytes += layer->bytes;
        store->inodes += layer->inodes;
}

void store_drop_layer(struct store *store, struct layer *layer)
{
        char name[16];
        snprintf(name, sizeof(name), "%u", layer->number);
        if (table_get(store->numbers, name) == layer) {
                table_remove(store->numbers, name);
                store->bytes -= layer->home ? 0 : layer->bytes;
                store->inodes -= layer->home ? 0 : layer->inodes;
                if (layer->number < store->first_free)
                        store->first_free = layer->number;
        }
        struct table *table = store_layers_like(store, layer);
        AUTO_FREE char *place = layer_place_name(layer);
        struct layer *lent = table_get(store->lent, place);
        if (table_get(table, layer->name) == layer)
                table_remove(table, layer->name);
        if (lent)
                table_put(table, lent->name, lent);
        layer_free(layer);
}

void store_drop_image(struct store *store, struct image *image)
{
        store_withdraw_names(store, image);
        for (size_t i = 0; i < image->layer_count; i++)
                image->layers[i]->refs--;
        if (image->fixup)
                image->fixup->refs--;
        if (table_get(store->images, image->id) == image)
                table_remove(store->images, image->id);
        image_free(image);
}

void store_free(struct store *store)
{
        if (!store)
                return;
        store_forget_kept(store);
        spread_free(store->spread);
        timer_free(store->clean_timer);
        size_t cursor = 0;
        void *each;
        while ((each = table_next(store->images, &cursor, NULL)))
                image_free(each);
        cursor = 0;
        while ((each = table_next(store->numbers, &cursor, NULL)))
                layer_free(each);
        table_free(store->images);
        table_free(store->names);
        table_free(store->layers);
        table_free(store->fixups);
        table_free(store->artifacts);
        table_free(store->numbers);
        table_free(store->stages);
        table_free(store->lent);
        strv_free(store->additional);
        if (store->fd >= 0)
                close(store->fd);
        free(store->directory);
        free(store);
}

/* ---- finding ---- */

static const struct image *visible(const struct image *image)
{
        return image && !image->removed ? image : NULL;
}

/* By the manifest that an index led to: it came from the same repository, so it is what that name
 * means. */
static const struct image *find_manifest(const struct store *store,
                                         const struct reference *reference)
{
        size_t cursor = 0;
        const struct image *image;
        AUTO_FREE char *start = reference_digested(reference, "");
        while ((image = table_next(store->images, &cursor, NULL))) {
                if (image->removed || strcmp(image->manifest_digest, reference->digest) != 0)
                        continue;
                for (char **name = image->digests; name && *name; name++)
                        if (strncmp(*name, start, strlen(start)) == 0)
                                return image;
        }
        return NULL;
}

static const struct image *find_name(const struct store *store, const char *name)
{
        struct reference reference;
        if (reference_parse(name, &reference, NULL) < 0)
                return NULL;
        AUTO_FREE char *key = reference.digest[0] ? reference_digested(&reference, reference.digest)
                                                  : reference_tagged(&reference);
        const struct image *image = key ? visible(table_get(store->names, key)) : NULL;
        return image || !reference.digest[0] ? image : find_manifest(store, &reference);
}

static const struct image *find_prefix(const struct store *store, const char *digits)
{
        if (strlen(digits) < STORE_ID_PREFIX_MIN || !id_is_hex(digits))
                return NULL;
        const struct image *found = NULL, *image;
        size_t cursor = 0;
        while ((image = table_next(store->images, &cursor, NULL))) {
                if (image->removed || strncmp(layer_hex(image->id), digits, strlen(digits)) != 0)
                        continue;
                if (found)
                        return NULL;
                found = image;
        }
        return found;
}

const struct image *store_find_id(const struct store *store, const char *name)
{
        if (!name || digest_is_valid(name))
                return name ? visible(store_image(store, name)) : NULL;
        bool prefixed = strncmp(name, SHA256, strlen(SHA256)) == 0;
        return find_prefix(store, prefixed ? name + strlen(SHA256) : name);
}

const struct image *store_find(const struct store *store, const char *name)
{
        if (!name || !*name)
                return NULL;
        if (digest_is_valid(name))
                return visible(store_image(store, name));
        if (strncmp(name, SHA256, strlen(SHA256)) == 0) {
                const struct image *image = store_find_id(store, name);
                if (image)
                        return image;
        }
        const struct image *image = find_name(store, name);
        return image ? image : find_prefix(store, name);
}

const struct image *store_held(const struct store *store, const char *id)
{
        return store_image(store, id);
}

bool store_has_layer(const struct store *store, const char *diff_id)
{
        return table_get(store->layers, diff_id) != NULL;
}

char *store_layer_path(const struct store *store, const char *diff_id)
{
        const struct layer *layer = table_get(store->layers, diff_id);
        AUTO_FREE char *name = layer_place_name(layer);
        return xprintf("%s/%s", layer->home ? layer->home : store->directory, name);
}

const struct image *store_next(const struct store *store, size_t *cursor)
{
        const struct image *image;
        while ((image = table_next(store->images, cursor, NULL)) && image->removed)
                ;
        return image;
}

bool store_user_id(const struct image *image, int64_t *uid, char *username, size_t size)
{
        size_t length = strcspn(image->user, ":");
        bool number = length > 0 && length < 11 && strspn(image->user, "0123456789") >= length;
        int64_t value = number ? strtoll(image->user, NULL, 10) : 0;
        number = number && value <= USER_ID_MAX;
        if (number)
                *uid = value;
        snprintf(username, size, "%.*s", number ? 0 : (int)length, image->user);
        return number;
}

void store_usage(const struct store *store, struct store_usage *usage)
{
        usage->directory = store->directory;
        usage->additional = store->additional;
        usage->bytes = store->bytes;
        usage->inodes = store->inodes;
        usage->images = table_size(store->images);
        usage->layers = table_size(store->layers);
}

/* ---- users ---- */

int store_use(struct store *store, const char *id, const char *user, struct error *err)
{
        struct image *image = store_image(store, id);
        /* After the start a removed image without users is on its way out; before, its users are
         * only being counted. */
        if (!image || (image->removed && store->cleaned && table_size(image->users) == 0)) {
                if (!store->cleaned)
                        store->doubtful = true;
                return error_set(err, ERROR_NOT_FOUND, "image %.100s: not found", id);
        }
        table_put(image->users, user, image);
        return 0;
}

struct destruction {
        struct store *store;
        char *id;
};

static void destroy_task(void *argument)
{
        struct destruction *destruction = argument;
        struct error err;
        if (store_destroy(destruction->store, destruction->id, &err) < 0)
                log_failure(&err, "image could not be removed", "image", destruction->id, NULL);
        free(destruction->id);
        free(destruction);
}

void store_release(struct store *store, const char *id, const char *user)
{
        struct image *image = store_image(store, id);
        if (!image || !table_remove(image->users, user))
                return;
        if (!image->removed || table_size(image->users) > 0)
                return;
        struct destruction *destruction = xcalloc(1, sizeof(*destruction));
        destruction->store = store;
        destruction->id = xstrdup(id);
        task_start("remove image", destroy_task, destruction);
}

/* ---- configuration ---- */

struct config_job {
        char *path;
        const char *id;
        struct buffer contents;
        struct image_config *config;
        bool parse;
        struct error *err;
};

static int config_work(void *argument)
{
        struct config_job *job = argument;
        int result = file_read(job->path, IMAGE_CONFIG_BYTES_MAX, &job->contents, job->err);
        if (result < 0 || !job->parse)
                return result;
        return image_config_parse(job->contents.data, job->contents.length, "image configuration",
                                  &job->config, job->err);
}

static int read_config(struct store *store, const char *id, struct config_job *job)
{
        const struct image *image = store_image(store, id);
        if (!image)
                return error_set(job->err, ERROR_NOT_FOUND, "image %.100s: not found", id);
        if (image->artifact && job->parse)
                return error_set(job->err, ERROR_FAILED_PRECONDITION,
                                 "%s is an artifact and no container image: it can be mounted as a "
                                 "volume, not run",
                                 image->tags ? image->tags[0] : id);
        job->path = xprintf("%s/configs/%s", image->home ? image->home : store->directory,
                            layer_hex(id));
        int result = task_offload(config_work, job);
        free(job->path);
        if (result < 0)
                return error_context(job->err, "image %s", id);
        return 0;
}

int store_config(struct store *store, const char *id, struct image_config **config,
                 struct error *err)
{
        struct config_job job = {.parse = true, .err = err};
        int result = read_config(store, id, &job);
        buffer_fini(&job.contents);
        if (result == 0)
                *config = job.config;
        return result;
}

int store_config_text(struct store *store, const char *id, struct buffer *contents,
                      struct error *err)
{
        struct config_job job = {.err = err};
        int result = read_config(store, id, &job);
        if (result == 0)
                buffer_add(contents, job.contents.data ? job.contents.data : "",
                           job.contents.length);
        buffer_fini(&job.contents);
        return result;
}

/* ---- root filesystems ---- */

static bool occurs_above(const struct image *image, size_t index)
{
        for (size_t i = index + 1; i < image->layer_count; i++)
                if (image->layers[i] == image->layers[index])
                        return true;
        return false;
}

int store_lower(const struct store *store, const char *id, char **links, char **lower, char **root,
                struct error *err)
{
        const struct image *image = store_image(store, id);
        if (!image)
                return error_set(err, ERROR_NOT_FOUND, "image %.100s: not found", id);
        AUTO_BUFFER struct buffer names = BUFFER_INIT;
        AUTO_FREE char *top = NULL;
        if (image->fixup)
                buffer_printf(&names, "%u", image->fixup->number);
        if (image->fixup && !image->fixup->bare_root)
                top = xprintf("%u", image->fixup->number);
        for (size_t i = image->layer_count; i-- > 0;) {
                const struct layer *layer = image->layers[i];
                /* overlayfs refuses a folder twice (ELOOP), and the higher one shows all that the
                 * lower one would. */
                if (occurs_above(image, i))
                        continue;
                buffer_printf(&names, names.length ? ":%u" : "%u", layer->number);
                if (!top && (!layer->bare_root || i == 0))
                        top = xprintf("%u", layer->number);
        }
        *lower = buffer_take(&names);
        *root = top ? take_ptr(top) : xstrdup("");
        *links = xprintf("%s/l", store->directory);
        return 0;
}

char *store_signatures_path(const struct store *store, const char *manifest_digest)
{
        const char *directory = store->directory;
        const struct image *image;
        size_t cursor = 0;
        while ((image = table_next(store->images, &cursor, NULL))) {
                if (strcmp(image->manifest_digest, manifest_digest) != 0)
                        continue;
                directory = image->home ? image->home : store->directory;
                if (!image->home)
                        break;
        }
        return xprintf("%s/signatures/%s", directory, layer_hex(manifest_digest));
}
